/* SPDX-License-Identifier: Apache-2.0 */
/* What zephyr/drivers/viommu_smmu.c returns, for a guest without a C library. */
#ifndef ERRNO_H_
#define ERRNO_H_

#define ENOENT  2
#define EIO     5
#define ENOMEM  12
#define EEXIST  17
#define EINVAL  22
#define ENOTSUP 134

#endif /* ERRNO_H_ */
