/*
 * SCTP's checksum after a change of its ports, without reading the packet. CRC32c is linear over GF(2): the checksums of two
 * packets of one length differ by the CRC (from 0) of their difference, here 32 bits followed by zeros. Those zeros are a
 * multiplication by x^8 a byte, modulo the polynomial; by powers of two at a time, at most 16 multiplications.
 */
#ifndef SKEP_SCTP_CHECKSUM_H
#define SKEP_SCTP_CHECKSUM_H

#include <linux/types.h>
#include <bpf/bpf_helpers.h>

/* Castagnoli's polynomial with x^0 as the highest bit, as RFC 9260, appendix A, shifts it. */
#define CRC32C_POLYNOMIAL 0x82f63b78

/* The product of two polynomials modulo CRC32c's. Not static: the verifier then looks at it once, not at each call. */
__attribute__((noinline)) __u32 crc32c_multiply(__u32 one, __u32 other)
{
  __u32 product = 0;
  for (int bit = 31; bit >= 0; bit--) {
    product ^= other & -(one >> bit & 1);
    other = other >> 1 ^ (CRC32C_POLYNOMIAL & -(other & 1));
  }
  return product;
}

/*
 * What the checksum field (a little-endian number) changes by, when the packet's first four bytes change.
 * @param change of the first four bytes as a little-endian number
 * @param bytes from those to the end of the packet, all of it
 */
static __noinline __u32 crc32c_of_change(__u32 change, __u32 bytes)
{
  /* x^8, and each the square of the one before. */
  if (bytes & 1) change = crc32c_multiply(change, 0x00800000);
  if (bytes & 2) change = crc32c_multiply(change, 0x00008000);
  if (bytes & 4) change = crc32c_multiply(change, 0x82f63b78);
  if (bytes & 8) change = crc32c_multiply(change, 0x6ea2d55c);
  if (bytes & 16) change = crc32c_multiply(change, 0x18b8ea18);
  if (bytes & 32) change = crc32c_multiply(change, 0x510ac59a);
  if (bytes & 64) change = crc32c_multiply(change, 0xb82be955);
  if (bytes & 128) change = crc32c_multiply(change, 0xb8fdb1e7);
  if (bytes & 256) change = crc32c_multiply(change, 0x88e56f72);
  if (bytes & 512) change = crc32c_multiply(change, 0x74c360a4);
  if (bytes & 1024) change = crc32c_multiply(change, 0xe4172b16);
  if (bytes & 2048) change = crc32c_multiply(change, 0x0d65762a);
  if (bytes & 4096) change = crc32c_multiply(change, 0x35d73a62);
  if (bytes & 8192) change = crc32c_multiply(change, 0x28461564);
  if (bytes & 16384) change = crc32c_multiply(change, 0xbf455269);
  if (bytes & 32768) change = crc32c_multiply(change, 0xe2ea32dc);
  return change;
}

#endif
