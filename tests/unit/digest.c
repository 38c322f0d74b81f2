// SPDX-License-Identifier: MIT
// plait_digest(): the values of XXH64 with seed 0, as other implementations give them.
#include "check.h"

#include <plait.h>
#include <string.h>

TEST(as_others_compute_it)
{
    unsigned char counted[100], seventh[1000];
    for (unsigned i = 0; i < sizeof counted; i++)
        counted[i] = (unsigned char)i;
    for (unsigned i = 0; i < sizeof seventh; i++)
        seventh[i] = (unsigned char)(7 * i);
    const struct {
        const void *data;
        size_t bytes;
        uint64_t digest;
    } known[] = {
        { "", 0, UINT64_C(0xef46db3751d8e999) },
        { "a", 1, UINT64_C(0xd24ec4f1a98c6e5b) },
        { "abc", 3, UINT64_C(0x44bc2cf5ad770999) },
        { counted, 31, UINT64_C(0xc346d2b59b4d8ee1) },
        { counted, 32, UINT64_C(0xcbf59c5116ff32b4) },
        { counted, 33, UINT64_C(0x0c535d1acafb8ead) },
        { counted, 77, UINT64_C(0x93f85c1b6280ead3) },
        { seventh, 1000, UINT64_C(0x25275608a9cfc168) },
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (plait_digest(known[i].data, known[i].bytes) != known[i].digest)
            FAIL("%zu bytes: %016llx", known[i].bytes,
                 (unsigned long long)plait_digest(known[i].data, known[i].bytes));
}

// Wherever the bytes lie.
TEST(alignment_does_not_matter)
{
    char text[] = "The quick brown fox jumps over the lazy dog, and then once more.", room[128];
    uint64_t digest = plait_digest(text, sizeof text);
    for (size_t at = 0; at < 16; at++) {
        memcpy(room + at, text, sizeof text);
        CHECK(plait_digest(room + at, sizeof text) == digest);
        room[at + 40] ^= 1;
        CHECK(plait_digest(room + at, sizeof text) != digest);
    }
}
