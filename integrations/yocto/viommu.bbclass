# SPDX-License-Identifier: Apache-2.0
# Binds the passthrough devices of a Zephyr guest before its build. Into classes-recipe/ of a layer.
VIOMMU_HOST ?= "${DEPLOY_DIR_IMAGE}/host.dtb"
VIOMMU_PROFILE ?= "xen-rfc"
VIOMMU_GUEST ?= ""
VIOMMU_DIR = "${WORKDIR}/viommu"

inherit deploy

# CPP is that of the target, which need not exist yet when this runs.
do_viommu() {
    CPP=cpp viommu bind --host ${VIOMMU_HOST} --profile ${VIOMMU_PROFILE} -o ${VIOMMU_DIR} ${VIOMMU_GUEST}
}
do_viommu[file-checksums] = "${VIOMMU_HOST}:True"
addtask viommu after do_unpack before do_configure

do_deploy() {
    install -d ${DEPLOYDIR}/viommu
    install -m 0644 ${VIOMMU_DIR}/*.dtb ${VIOMMU_DIR}/host.overlay ${DEPLOYDIR}/viommu
}
addtask deploy after do_viommu before do_build
