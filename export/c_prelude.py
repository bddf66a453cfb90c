"""What every generated `planner.c` begins with: vectors of the machine's width, the tile of a matrix product, and tanh.

Only GNU vector extensions are used, which gcc and clang know on every processor; the width is chosen by what the compiler says of
the machine. Nothing is left to -ffast-math: sums are taken in a fixed order, so that the same library gives the same bits.
"""

from __future__ import annotations

PANEL = 16
"""Columns to which constant right factors are padded."""
MOST_ROWS = 6
"""Rows of a tile: with 64 columns (AVX-512) 24 sums of 32 registers, with 16 columns 12 of 16 (AVX2) or 24 of 32 (NEON)."""

TANH_ERROR = 4e-7
"""Largest error of `tanh_` against the true value: 3.94e-7 over all float32 numbers, 3.16e-7 with fused products and sums."""

PRELUDE = r"""
#include <math.h>
#include <stdint.h>
#include <string.h>
#if defined(__AVX512F__)
#include <immintrin.h>
#define BYTES 64
#define TILE 64
#elif defined(__AVX__)
#define BYTES 32
#define TILE 16
#else
#define BYTES 16
#define TILE 16
#endif
#define LANES (BYTES / 4)
#define SUMS (TILE / LANES)
#define ROWS 6
#define INLINE static inline __attribute__((always_inline))
#define KERNEL static __attribute__((noinline)) void
#define API __attribute__((visibility("default")))
typedef float vec __attribute__((vector_size(BYTES)));
typedef float vec_any __attribute__((vector_size(BYTES), aligned(4), may_alias));

/* lanes = how many of a vector exist in memory; a constant wherever it is used */
INLINE vec get(const float *p, const int lanes) {
    if (lanes == LANES) return *(const vec_any *)p;
#if defined(__AVX512F__)
    return (vec)_mm512_maskz_loadu_ps((__mmask16)((1u << lanes) - 1u), p);
#else
    vec v = {0};
    memcpy(&v, p, sizeof(float) * (unsigned)lanes);
    return v;
#endif
}

INLINE void put(float *p, const vec v, const int lanes) {
    if (lanes == LANES) { *(vec_any *)p = v; return; }
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << lanes) - 1u), (__m512)v);
#else
    memcpy(p, &v, sizeof(float) * (unsigned)lanes);
#endif
}

INLINE vec all(const float x) {
    const vec zero = {0};
    return zero + x;
}

/* y (R, N) = c + a (R, K) b (K, N), N <= TILE: at = which columns of a (all if none), whole = b may be read up to whole vectors,
   each = c has an entry per column (else one per row), c may be absent */
INLINE void tile(const int R, const int N, const long K, const float *a, const long lda, const uint16_t *at, const float *b,
                 const long ldb, const int whole, const float *c, const long ldc, const int each, float *y, const long ldy) {
    const int V = (N + LANES - 1) / LANES, rest = N - (V - 1) * LANES;
    vec sum[ROWS][SUMS];
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
#pragma GCC unroll 8
        for (int v = 0; v < V; v++)
            sum[r][v] = !c ? (vec){0} : each ? get(c + r * ldc + v * LANES, v + 1 < V ? LANES : rest) : all(c[r * ldc]);
    for (long k = 0; k < K; k++) {
        const long i = at ? at[k] : k;
        vec row[SUMS];
#pragma GCC unroll 8
        for (int v = 0; v < V; v++) row[v] = get(b + k * ldb + v * LANES, whole || v + 1 < V ? LANES : rest);
#pragma GCC unroll 8
        for (int r = 0; r < R; r++) {
            const vec x = all(a[r * lda + i]);
#pragma GCC unroll 8
            for (int v = 0; v < V; v++) sum[r][v] += x * row[v];
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
#pragma GCC unroll 8
        for (int v = 0; v < V; v++) put(y + r * ldy + v * LANES, sum[r][v], v + 1 < V ? LANES : rest);
}

/* the same for any number of rows, R at a time */
INLINE void strip(const int M, const int R, const int N, const long K, const float *a, const long lda, const uint16_t *at,
                  const float *b, const long ldb, const int whole, const float *c, const long ldc, const int each, float *y,
                  const long ldy) {
    int m = 0;
    for (; m + R <= M; m += R) tile(R, N, K, a + m * lda, lda, at, b, ldb, whole, c ? c + m * ldc : c, ldc, each, y + m * ldy, ldy);
    if (M % R) tile(M % R, N, K, a + m * lda, lda, at, b, ldb, whole, c ? c + m * ldc : c, ldc, each, y + m * ldy, ldy);
}

/* the same for any number of columns */
INLINE void product(const int M, const int R, const int N, const long K, const float *a, const long lda, const uint16_t *at,
                    const float *b, const long ldb, const int whole, const float *c, const long ldc, const int each, float *y,
                    const long ldy) {
    int j = 0;
    for (; j + TILE <= N; j += TILE)
        strip(M, R, TILE, K, a, lda, at, b + j, ldb, whole, c ? c + each * j : c, ldc, each, y + j, ldy);
    if (N % TILE) strip(M, R, N % TILE, K, a, lda, at, b + j, ldb, whole, c ? c + each * j : c, ldc, each, y + j, ldy);
}

/* one row of y (1, N) = c + a b, N <= TILE, with a sparse constant a: many = its entries, at = their columns, w = their values */
INLINE void sparse(const int N, const int many, const uint16_t *at, const float *w, const float *b, const long ldb, const float *c,
                   const int each, float *y) {
    const int V = (N + LANES - 1) / LANES, rest = N - (V - 1) * LANES;
    vec sum[SUMS];
#pragma GCC unroll 8
    for (int v = 0; v < V; v++) sum[v] = !c ? (vec){0} : each ? get(c + v * LANES, v + 1 < V ? LANES : rest) : all(c[0]);
    for (int k = 0; k < many; k++) {
        const vec x = all(w[k]);
#pragma GCC unroll 8
        for (int v = 0; v < V; v++) sum[v] += x * get(b + at[k] * ldb + v * LANES, v + 1 < V ? LANES : rest);
    }
#pragma GCC unroll 8
    for (int v = 0; v < V; v++) put(y + v * LANES, sum[v], v + 1 < V ? LANES : rest);
}

/* the same for any number of columns */
INLINE void combine(const int N, const int many, const uint16_t *at, const float *w, const float *b, const long ldb, const float *c,
                    const int each, float *y) {
    int j = 0;
    for (; j + TILE <= N; j += TILE) sparse(TILE, many, at, w, b + j, ldb, c ? c + each * j : c, each, y + j);
    if (N % TILE) sparse(N % TILE, many, at, w, b + j, ldb, c ? c + each * j : c, each, y + j);
}

INLINE float least_(const float x, const float high) { return high < x ? high : x; } /* not a number stays one */
INLINE float greatest_(const float x, const float low) { return low > x ? low : x; }
INLINE float sign_(const float x) { return (float)(x > 0.0f) - (float)(x < 0.0f); }

/* x P(x^2) / Q(x^2) on [-9, 9], fitted to least relative error (2e-8 before rounding) */
INLINE float tanh_(const float given) {
    const float x = greatest_(least_(given, 9.0f), -9.0f), u = x * x;
    const float p = (((1.33528966e-08f * u + 2.06078511e-05f) * u + 3.49551641e-03f) * u + 1.33809668e-01f) * u + 1.0f;
    const float q = (((7.77584660e-07f * u + 3.28551507e-04f) * u + 2.58767138e-02f) * u + 4.67142825e-01f) * u + 1.0f;
    return x * (p / q);
}
"""
