// SPDX-License-Identifier: MIT
/*
 * digest.c - the number by which an argument is found again.
 *
 * DESIGN
 *   XXH64 with seed 0, because it reads memory about as fast as memory can be read, and because
 *   tools for it are everywhere: the digest of a file in a log can be looked for by `xxhsum -H64`.
 *   Four lanes take 32 bytes a round; what is left goes in steps of 8, 4 and 1; an avalanche ends
 *   it. Bytes are read as little-endian on every machine. It is no defence against who wants two
 *   arguments to look the same.
 */
#include <plait/future.h>
#include <string.h>

#define P1 UINT64_C(0x9e3779b185ebca87)
#define P2 UINT64_C(0xc2b2ae3d27d4eb4f)
#define P3 UINT64_C(0x165667b19e3779f9)
#define P4 UINT64_C(0x85ebca77c2b2ae63)
#define P5 UINT64_C(0x27d4eb2f165667c5)

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the digest reads words as they lie in memory: swap them here"
#endif

static inline uint64_t read8(const unsigned char *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

static inline uint32_t read4(const unsigned char *at)
{
    uint32_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

static inline uint64_t turn_left(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

static inline uint64_t mix(uint64_t lane, uint64_t word)
{
    return turn_left(lane + word * P2, 31) * P1;
}

static inline uint64_t merge(uint64_t sum, uint64_t lane)
{
    return (sum ^ mix(0, lane)) * P1 + P4;
}

uint64_t plait_digest(const void *data, size_t bytes)
{
    const unsigned char *at = data;
    size_t left = bytes;
    uint64_t sum = P5;
    if (bytes >= 32) {
        uint64_t a = P1 + P2, b = P2, c = 0, d = -P1;
        for (; left >= 32; left -= 32, at += 32) {
            a = mix(a, read8(at));
            b = mix(b, read8(at + 8));
            c = mix(c, read8(at + 16));
            d = mix(d, read8(at + 24));
        }
        sum = turn_left(a, 1) + turn_left(b, 7) + turn_left(c, 12) + turn_left(d, 18);
        sum = merge(merge(merge(merge(sum, a), b), c), d);
    }
    sum += bytes;
    for (; left >= 8; left -= 8, at += 8)
        sum = turn_left(sum ^ mix(0, read8(at)), 27) * P1 + P4;
    if (left >= 4) {
        sum = turn_left(sum ^ read4(at) * P1, 23) * P2 + P3;
        left -= 4;
        at += 4;
    }
    for (; left > 0; left--, at++)
        sum = turn_left(sum ^ *at * P5, 11) * P1;
    sum = (sum ^ sum >> 33) * P2;
    sum = (sum ^ sum >> 29) * P3;
    return sum ^ sum >> 32;
}
