// One build serves every x86-64: the loops are compiled for three instruction sets, and the loader picks. Other
// compilers and machines take the loops as their default options vectorise them.
#pragma once

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
#define DEC_CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define DEC_CLONES
#endif
