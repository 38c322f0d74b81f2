// SPDX-License-Identifier: MIT
// met.h - the states that a model was in already, by hashes of 128 bits: the chance to mistake one
// state for another is negligible.
#ifndef PLAIT_TESTS_MET_H
#define PLAIT_TESTS_MET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

static uint64_t (*met)[2];
static size_t met_count, met_size;

static void mix(uint64_t hash[2], uint64_t x)
{
    hash[0] = (hash[0] ^ x) * UINT64_C(0x9E3779B97F4A7C15);
    hash[0] ^= hash[0] >> 29;
    hash[1] = (hash[1] + x) * UINT64_C(0xD6E8FEB86659FD93);
    hash[1] ^= hash[1] >> 32;
}

// True when the hash was not there.
static bool remember(const uint64_t hash[2])
{
    if (met_count * 2 >= met_size) {
        uint64_t(*old)[2] = met;
        size_t old_size = met_size;
        met_size = met_size ? met_size * 2 : 1 << 16;
        met = calloc(met_size, sizeof *met);
        CHECK(met != NULL);
        met_count = 0;
        for (size_t i = 0; i < old_size; i++)
            if (old[i][0])
                remember(old[i]);
        free(old);
    }
    size_t i = hash[0] & (met_size - 1);
    for (; met[i][0]; i = (i + 1) & (met_size - 1))
        if (met[i][0] == hash[0] && met[i][1] == hash[1])
            return false;
    memcpy(met[i], hash, sizeof met[i]);
    met_count++;
    return true;
}

static void forget_all(void)
{
    met_count = met_size = 0;
    free(met);
    met = NULL;
}

#endif
