// The two functions that ring's Rust code calls on x86_64 and that its C code lacks with OPENSSL_SMALL. That define is meant
// for other processors, on which the Rust code calls the general functions itself; so do these.
//
// They are weak: if ring was built without the define, its own functions replace them. The names carry ring's version.
// Windows: its format has no such replacement, so there the define must reach ring, or the linker finds two functions.

#include <stdint.h>

#ifdef _WIN32
#define FOR_RING
#else
#define FOR_RING __attribute__((weak, visibility("hidden")))
#endif

// The base point of P-256 times a scalar. ring calls the first for public scalars, so it need not take the same time for
// all of them; the second takes the same time and has the same parameters and result (ring's p256.c and p256-nistz.c).
void ring_core_0_17_14__p256_point_mul_base(uint64_t r[3][4], const uint64_t scalar[4]);

FOR_RING void ring_core_0_17_14__p256_point_mul_base_vartime(uint64_t r[3][4], const uint64_t scalar[4]) {
  ring_core_0_17_14__p256_point_mul_base(r, scalar);
}

// A point of Curve25519 times a scalar. ring calls the first on processors with ADX, the second on all others.
void ring_core_0_17_14__x25519_scalar_mult_generic_masked(uint8_t out[32], const uint8_t scalar[32],
                                                          const uint8_t point[32]);

FOR_RING void ring_core_0_17_14__x25519_scalar_mult_adx(uint8_t out[32], const uint8_t scalar[32],
                                                        const uint8_t point[32]) {
  ring_core_0_17_14__x25519_scalar_mult_generic_masked(out, scalar, point);
}
