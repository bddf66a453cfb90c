/* Planner of a tubepilot bundle, written from its ONNX graphs at export; no part of the proof: the shield is not in here */

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

API const int tubepilot_abi = 1;
API const long tubepilot_weights = 71600;
API const long tubepilot_scratch = 45088;

KERNEL k0(const float *restrict a, const float *restrict b, float *restrict y) {
    static const uint16_t kept[] = {0, 1, 2, 3, 4, 5};
    const uint16_t *at = kept;
    product(1, 1, 3, 6, a, 14, at, b, 16, 1, 0, 0, 1, y + 0, 3);
}

KERNEL k1(const float *restrict a0, const float *restrict a1, float *restrict y) {
    for (int m = 0; m < 1; m++) for (int j = 0; j < 3; j++) {
        const float x0 = a0[j];
        const float x1 = a1[j];
        const float t0 = x0 * -0x1.0000000000000p+0f;
        const float t1 = t0 + x1;
        y[m * 3 + j] = t1;
    }
}

KERNEL k2(const float *restrict a, const float *restrict b, const float *restrict c, float *restrict y) {
    static const uint16_t kept[] = {6, 7, 8};
    const uint16_t *at = kept;
    product(13, 5, 3, 3, a, 9, at, b, 16, 1, c + 0, 0, 1, y + 0, 3);
}

KERNEL k3(const float *restrict a, float *restrict y) {
    for (int m = 0; m < 13; m++) {
        float sum = 0.0f;
        for (int j = 0; j < 3; j++) { const float x = a[m * 3 + j]; sum += x * x; }
        y[m * 1] = sqrtf(sum);
    }
}

KERNEL k4(const float *restrict a0, const float *restrict a1, float *restrict y) {
    for (int m = 0; m < 13; m++) for (int j = 0; j < 3; j++) {
        const float x0 = a0[m * 3 + j];
        const float x1 = a1[m * 1];
        const float t0 = x0 / x1;
        y[m * 3 + j] = t0;
    }
}

KERNEL k5(const float *restrict a, const float *restrict b, float *restrict y) {
    static const uint16_t kept[] = {0, 1, 2, 3, 4, 5};
    const uint16_t *at = kept;
    product(13, 5, 12, 6, a, 9, at, b, 16, 1, 0, 0, 1, y + 0, 12);
}

KERNEL k6(const float *restrict a, const float *restrict b, const float *restrict c, float *restrict y) {
    static const uint16_t kept[] = {0, 1};
    const uint16_t *at = kept;
    product(13, 5, 12, 2, a, 3, at, b, 16, 1, c + 0, 12, 1, y + 0, 12);
}

KERNEL k7(const float *restrict w, const float *restrict b, float *restrict y) {
    static const uint16_t many[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    static const uint16_t kept[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    const uint16_t *at = kept;
    for (int m = 0; m < 12; at += many[m], w += many[m], m++)
        combine(1, many[m], at, w, b, 1, 0, 1, y + m * 1);
}

KERNEL k8(const float *restrict a, const float *restrict b, const float *restrict c, float *restrict y) {
    static const uint16_t kept[] = {0, 1, 2, 3};
    const uint16_t *at = kept;
    static const uint16_t many[] = {4};
    for (int g = 0; g < 1; at += many[g], b += 64 * many[g], g++)
        product(1, 1, 64, many[g], a, 4, at, b, 64, 1, c + g * 64, 0, 1, y + g * 64, 96);
    product(1, 1, 32, 0, a, 4, at, b, 32, 1, c + 64, 0, 1, y + 64, 96);
}

KERNEL k9(const float *restrict w, const float *restrict b, float *restrict y) {
    static const uint16_t many[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    static const uint16_t kept[] = {1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 4, 4, 4, 4, 4, 5, 5, 5, 5, 5, 6, 6, 6, 6, 6, 7, 7, 7, 7, 7, 8, 8, 8, 8, 8, 9, 9, 9, 9, 9, 10, 10, 10, 10, 10, 11, 11, 11, 11, 11, 12, 12, 12, 12, 12};
    const uint16_t *at = kept;
    for (int m = 0; m < 60; at += many[m], w += many[m], m++)
        combine(12, many[m], at, w, b, 12, 0, 1, y + m * 12);
}

KERNEL k10(const float *restrict a, const float *restrict b, const float *restrict c, float *restrict y) {
    static const uint16_t kept[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
    const uint16_t *at = kept;
    static const uint16_t many[] = {12};
    for (int g = 0; g < 1; at += many[g], b += 64 * many[g], g++)
        product(1, 1, 64, many[g], a, 12, at, b, 64, 1, c + g * 64, 0, 1, y + g * 64, 96);
    product(1, 1, 32, 0, a, 12, at, b, 32, 1, c + 64, 0, 1, y + 64, 96);
}

KERNEL k11(const float *restrict w, const float *restrict b, float *restrict y) {
    static const uint16_t many[] = {1};
    static const uint16_t kept[] = {12};
    const uint16_t *at = kept;
    for (int m = 0; m < 1; at += many[m], w += many[m], m++)
        combine(9, many[m], at, w, b, 9, 0, 1, y + m * 9);
}

KERNEL k12(const float *restrict a, const float *restrict b, float *restrict y) {
    product(1, 1, 48, 96, a, 96, 0, b, 48, 1, 0, 0, 1, y + 0, 48);
}

KERNEL k13(const float *restrict a, const float *restrict b, float *restrict y) {
    static const uint16_t kept[] = {6, 7, 8, 9};
    const uint16_t *at = kept;
    product(1, 1, 12, 4, a, 14, at, b, 16, 1, 0, 0, 1, y + 0, 12);
}

KERNEL k14(const float *restrict a0, float *restrict y) {
    for (int m = 0; m < 1; m++) for (int j = 0; j < 12; j++) {
        const float x0 = a0[j];
        const float t0 = x0 * x0;
        y[m * 12 + j] = t0;
    }
}

KERNEL k15(const float *restrict a, const float *restrict b, float *restrict y) {
    product(1, 1, 52, 12, a, 12, 0, b, 64, 1, 0, 0, 1, y + 0, 52);
}

KERNEL k16(const float *restrict a, const float *restrict b, const float *restrict c, float *restrict y) {
    static const uint16_t kept[] = {3, 4, 5, 10, 11, 12, 13};
    const uint16_t *at = kept;
    product(1, 1, 52, 7, a, 14, at, b, 64, 1, c + 0, 0, 1, y + 0, 52);
}

KERNEL k17(const float *restrict a0, const float *restrict a1, float *restrict y) {
    for (int m = 0; m < 1; m++) for (int j = 0; j < 52; j++) {
        const float x0 = a0[j];
        const float x1 = a1[j];
        const float t0 = x0 * x1;
        y[m * 52 + j] = t0;
    }
}

KERNEL k18(const float *restrict a, const float *restrict b, float *restrict y) {
    product(1, 1, 16, 52, a, 52, 0, b, 16, 1, 0, 0, 1, y + 0, 16);
}

KERNEL k19(const float *restrict w, const float *restrict b, float *restrict y) {
    static const uint16_t many[] = {1, 1, 1, 1, 1};
    static const uint16_t kept[] = {0, 0, 0, 0, 0};
    const uint16_t *at = kept;
    for (int m = 0; m < 5; at += many[m], w += many[m], m++)
        combine(16, many[m], at, w, b, 16, 0, 1, y + m * 16);
}

KERNEL k20(const float *restrict a, const float *restrict b, const float *restrict c, float *restrict y) {
    static const uint16_t kept[] = {0, 0, 0, 1, 1, 1, 2, 2, 2};
    const uint16_t *at = kept;
    static const uint16_t many[] = {0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0};
    for (int g = 0; g < 16; at += many[g], b += 64 * many[g], g++)
        product(1, 1, 64, many[g], a, 3, at, b, 64, 1, c + g * 64, 0, 1, y + g * 64, 1024);
}

KERNEL k21(const float *restrict a, const float *restrict b, const float *restrict c, float *restrict y) {
    static const uint16_t kept[] = {0, 1, 2, 0, 1, 2, 0, 1, 2};
    const uint16_t *at = kept;
    static const uint16_t many[] = {3, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    for (int g = 0; g < 22; at += many[g], b += 64 * many[g], g++)
        product(1, 1, 64, many[g], a, 3, at, b, 64, 1, c + g * 64, 0, 1, y + g * 64, 1408);
}

KERNEL k22(const float *restrict a0, float *restrict y) {
    for (int m = 0; m < 1; m++) for (int j = 0; j < 3; j++) {
        const float x0 = a0[j];
        const float t0 = x0 * x0;
        y[m * 3 + j] = t0;
    }
}

KERNEL k23(const float *restrict a, const float *restrict b, const float *restrict c, float *restrict y) {
    static const uint16_t kept[] = {0, 1, 0, 1, 0, 1};
    const uint16_t *at = kept;
    static const uint16_t many[] = {2, 2};
    for (int g = 0; g < 2; at += many[g], b += 64 * many[g], g++)
        product(1, 1, 64, many[g], a, 3, at, b, 64, 1, c + g * 64, 0, 1, y + g * 64, 160);
    product(1, 1, 32, 2, a, 3, at, b, 32, 1, c + 128, 0, 1, y + 128, 160);
}

KERNEL k24(const float *restrict a, const float *restrict b, const float *restrict c, float *restrict y) {
    static const uint16_t kept[] = {2, 2, 2};
    const uint16_t *at = kept;
    static const uint16_t many[] = {1, 1};
    for (int g = 0; g < 2; at += many[g], b += 64 * many[g], g++)
        product(1, 1, 64, many[g], a, 3, at, b, 64, 1, c + g * 64, 0, 1, y + g * 64, 160);
    product(1, 1, 32, 1, a, 3, at, b, 32, 1, c + 128, 0, 1, y + 128, 160);
}

KERNEL k25(const float *restrict a, const float *restrict b, const float *restrict c, float *restrict y) {
    static const uint16_t kept[] = {0, 1, 2};
    const uint16_t *at = kept;
    product(1, 1, 3, 3, a, 9, at, b, 16, 1, c + 0, 0, 1, y + 0, 3);
}

KERNEL k26(const float *restrict a, const float *restrict b, const float *restrict c, float *restrict y) {
    for (int g = 0; g < 1; b += 64 * 3, g++)
        product(1, 1, 64, 3, a, 3, 0, b, 64, 1, c + g * 64, 0, 1, y + g * 64, 64);
}

KERNEL k27(const float *restrict a, const float *restrict b, const float *restrict c, float *restrict y) {
    static const uint16_t kept[] = {3, 4, 5, 6, 7, 8};
    const uint16_t *at = kept;
    static const uint16_t many[] = {6};
    for (int g = 0; g < 1; at += many[g], b += 64 * many[g], g++)
        product(1, 1, 64, many[g], a, 9, at, b, 64, 1, c + g * 64, 0, 1, y + g * 64, 64);
}

KERNEL k28(const float *restrict a, const float *restrict b, float *restrict y) {
    static const uint16_t kept[] = {6, 7, 8, 9, 10, 11};
    const uint16_t *at = kept;
    product(60, 6, 16, 6, a, 12, at, b, 16, 1, 0, 0, 1, y + 0, 16);
}

KERNEL k29(const float *restrict a, const float *restrict b, float *restrict y) {
    static const uint16_t kept[] = {3, 4, 5};
    const uint16_t *at = kept;
    product(60, 6, 3, 3, a, 12, at, b, 16, 1, 0, 0, 1, y + 0, 3);
}

KERNEL k30(const float *restrict a, const float *restrict b, float *restrict y) {
    static const uint16_t kept[] = {0, 1, 2};
    const uint16_t *at = kept;
    product(60, 6, 3, 3, a, 12, at, b, 16, 1, 0, 0, 1, y + 0, 3);
}

KERNEL k31(const float *restrict w, const float *restrict b, float *restrict y) {
    static const uint16_t many[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    static const uint16_t kept[] = {0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 4, 4, 4, 4, 4, 5, 5, 5, 5, 5, 6, 6, 6, 6, 6, 7, 7, 7, 7, 7, 8, 8, 8, 8, 8, 9, 9, 9, 9, 9, 10, 10, 10, 10, 10, 11, 11, 11, 11, 11};
    const uint16_t *at = kept;
    for (int m = 0; m < 60; at += many[m], w += many[m], m++)
        combine(4, many[m], at, w, b, 4, 0, 1, y + m * 4);
}

KERNEL k32(const float *restrict a0, float *restrict y) {
    for (int m = 0; m < 1; m++) for (int j = 0; j < 1; j++) {
        const float x0 = a0[0];
        const float t0 = ceilf(x0);
        y[m * 1 + j] = t0;
    }
}

KERNEL k33(const float *restrict w, const float *restrict b, float *restrict y) {
    static const uint16_t many[] = {0, 1, 1, 1, 1};
    static const uint16_t kept[] = {0, 0, 0, 0};
    const uint16_t *at = kept;
    for (int m = 0; m < 5; at += many[m], w += many[m], m++)
        combine(1, many[m], at, w, b, 1, 0, 1, y + m * 1);
}

KERNEL k34(const float *restrict w, const float *restrict b, const float *restrict c, float *restrict y) {
    static const uint16_t many[] = {1, 0, 0, 0, 0};
    static const uint16_t kept[] = {0};
    const uint16_t *at = kept;
    for (int m = 0; m < 5; at += many[m], w += many[m], m++)
        combine(1, many[m], at, w, b, 1, c + m * 1, 1, y + m * 1);
}

KERNEL k35(const float *restrict a, const float *restrict b, float *restrict y) {
    static const uint16_t kept[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47};
    const uint16_t *at = kept;
    static const uint16_t many[] = {20, 20, 16};
    for (int g = 0; g < 3; at += many[g], b += 16 * many[g], g++)
        product(5, 5, 16, many[g], a, 48, at, b, 16, 1, 0, 0, 1, y + g * 16, 48);
}

KERNEL k36(const float *restrict a0, const float *restrict a1, float *restrict y) {
    for (int m = 0; m < 5; m++) for (int j = 0; j < 48; j++) {
        const float x0 = a0[m * 1];
        const float x1 = a1[m * 48 + j];
        const float t0 = x0 * x1;
        y[m * 48 + j] = t0;
    }
}

KERNEL k37(const float *restrict a, float *restrict y) {
    memcpy(y, a, 960);
}

KERNEL k38(const float *restrict a0, float *restrict y) {
    for (int m = 0; m < 1; m++) for (int j = 0; j < 5; j++) {
        const float x0 = a0[j];
        const float t0 = 0x1.0000000000000p+0f - x0;
        y[m * 1 + j] = t0;
    }
}

KERNEL k39(const float *restrict a, float *restrict y) {
    memcpy(y, a, 20);
}

KERNEL k40(const float *restrict a0, const float *restrict a1, float *restrict y) {
    for (int m = 0; m < 10; m++) for (int j = 0; j < 5; j++) {
        const float x0 = a0[m * 1];
        const float x1 = a1[m * 5 + j];
        const float t0 = x0 * x1;
        y[m * 5 + j] = t0;
    }
}

KERNEL k41(const float *restrict a, const float *restrict b, const float *restrict c, float *restrict y) {
    static const uint16_t kept[] = {3, 4, 5, 6, 7, 8};
    const uint16_t *at = kept;
    static const uint16_t many[] = {6};
    for (int g = 0; g < 1; at += many[g], b += 64 * many[g], g++)
        product(13, 5, 64, many[g], a, 9, at, b, 64, 1, c + g * 64, 0, 1, y + g * 64, 64);
}

KERNEL k42(const float *restrict a, const float *restrict b, float *restrict y) {
    static const uint16_t kept[] = {0, 1, 2};
    const uint16_t *at = kept;
    static const uint16_t many[] = {0};
    for (int g = 0; g < 1; at += many[g], b += 16 * many[g], g++)
        product(13, 5, 16, many[g], a, 9, at, b, 16, 1, 0, 0, 1, y + g * 16, 24);
    product(13, 5, 8, 3, a, 9, at, b, 16, 1, 0, 0, 1, y + 16, 24);
}

KERNEL k43(const float *restrict w, const float *restrict b, const float *restrict c, float *restrict y) {
    static const uint16_t many[] = {2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 0};
    static const uint16_t kept[] = {0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12};
    const uint16_t *at = kept;
    for (int m = 0; m < 13; at += many[m], w += many[m], m++)
        combine(24, many[m], at, w, b, 24, c, 1, y + m * 24);
}

KERNEL k44(const float *restrict a, const float *restrict b, float *restrict y) {
    static const uint16_t kept[] = {0, 1, 2};
    const uint16_t *at = kept;
    product(13, 5, 3, 3, a, 9, at, b, 16, 1, 0, 0, 1, y + 0, 3);
}

KERNEL k45(const float *restrict w, const float *restrict b, float *restrict y) {
    static const uint16_t many[] = {1};
    static const uint16_t kept[] = {0};
    const uint16_t *at = kept;
    for (int m = 0; m < 1; at += many[m], w += many[m], m++)
        combine(3, many[m], at, w, b, 3, 0, 1, y + m * 3);
}

KERNEL k46(const float *restrict a, const float *restrict b, const float *restrict c, float *restrict y) {
    static const uint16_t kept[] = {0, 1, 2};
    const uint16_t *at = kept;
    product(1, 1, 3, 3, a, 14, at, b, 16, 1, c + 0, 0, 1, y + 0, 3);
}

KERNEL k47(const float *restrict a, float *restrict y) {
    for (int m = 0; m < 5; m++) memcpy(y + m * 20, a + m * 16, 64);
}

KERNEL k48(const float *restrict a, float *restrict y) {
    memcpy(y, a, 4096);
}

KERNEL k49(const float *restrict a, float *restrict y) {
    memcpy(y, a, 1024);
}

KERNEL k50(const float *restrict w, const float *restrict b, float *restrict y) {
    static const uint16_t many[] = {1, 1, 1, 1, 1};
    static const uint16_t kept[] = {0, 0, 0, 0, 0};
    const uint16_t *at = kept;
    for (int m = 0; m < 5; at += many[m], w += many[m], m++)
        combine(3, many[m], at, w, b, 3, 0, 1, y + m * 3);
}

KERNEL k51(const float *restrict a, const float *restrict b, const float *restrict c, float *restrict y) {
    static const uint16_t kept[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 1, 2, 10, 11};
    const uint16_t *at = kept;
    static const uint16_t many[] = {12};
    for (int g = 0; g < 1; at += many[g], b += 16 * many[g], g++)
        product(5, 5, 16, many[g], a, 16, at, b, 16, 1, c + g * 16, 0, 1, y + g * 16, 24);
    product(5, 5, 8, 4, a, 16, at, b, 16, 1, c + 16, 0, 1, y + 16, 24);
}

KERNEL k52(const float *restrict a0, float *restrict y) {
    for (int m = 0; m < 5; m++) for (int j = 0; j < 24; j++) {
        const float x0 = a0[m * 24 + j];
        const float t0 = x0 * x0;
        y[m * 43 + j] = t0;
    }
}

KERNEL k53(const float *restrict a, const float *restrict b, const float *restrict c, float *restrict y) {
    product(5, 5, 3, 24, a, 43, 0, b, 16, 1, c + 0, 3, 1, y + 0, 3);
}

KERNEL k54(const float *restrict a0, float *restrict y) {
    for (int m = 0; m < 5; m++) for (int j = 0; j < 3; j++) {
        const float x0 = a0[m * 3 + j];
        const float t0 = least_(greatest_(x0, -0x1.8000000000000p+0f), 0x1.8000000000000p+0f);
        y[m * 43 + j] = t0;
    }
}

KERNEL k55(const float *restrict a, float *restrict y) {
    for (int m = 0; m < 5; m++) memcpy(y + m * 43, a + m * 16, 64);
}

KERNEL k56(const float *restrict a, const float *restrict b, const float *restrict c, float *restrict y) {
    static const uint16_t kept[] = {5, 6, 8, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 40, 41, 42};
    const uint16_t *at = kept;
    static const uint16_t many[] = {29};
    for (int g = 0; g < 1; at += many[g], b += 64 * many[g], g++)
        product(5, 5, 64, many[g], a, 43, at, b, 64, 1, c + g * 64, 0, 1, y + g * 64, 64);
}

KERNEL k57(const float *restrict a0, float *restrict y) {
    for (int m = 0; m < 1; m++) for (int j = 0; j < 320; j++) {
        const float x0 = a0[j];
        const float t0 = tanh_(x0);
        y[m * 64 + j] = t0;
    }
}

KERNEL k58(const float *restrict a, const float *restrict b, const float *restrict c, float *restrict y) {
    for (int g = 0; g < 1; b += 64 * 64, g++)
        product(5, 5, 64, 64, a, 64, 0, b, 64, 1, c + g * 64, 0, 1, y + g * 64, 64);
}

KERNEL k59(const float *restrict a, const float *restrict b, const float *restrict c, float *restrict y) {
    product(5, 5, 4, 64, a, 64, 0, b, 16, 1, c + 0, 0, 1, y + 0, 4);
}

KERNEL k60(const float *restrict a0, const float *restrict a1, float *restrict y) {
    for (int m = 0; m < 5; m++) for (int j = 0; j < 4; j++) {
        const float x0 = a0[m * 4 + j];
        const float x1 = a1[m * 48 + j];
        const float t0 = tanh_(x0);
        const float t1 = t0 + x1;
        const float t2 = least_(greatest_(t1, -0x1.0000000000000p+0f), 0x1.0000000000000p+0f);
        y[m * 4 + j] = t2;
    }
}

KERNEL k61(const float *restrict a, const float *restrict b, const float *restrict c, float *restrict y) {
    product(10, 5, 4, 5, a, 5, 0, b, 4, 0, c, 48, 1, y, 4);
}

KERNEL k62(const float *restrict a, float *restrict y) {
    for (int m = 0; m < 10; m++) memcpy(y + m * 20, a + m * 4, 16);
}

KERNEL k63(const float *restrict a, const float *restrict b, const float *restrict c, float *restrict y) {
    static const uint16_t kept[] = {0, 1, 2, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 0, 1, 2, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 0, 1, 2, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19};
    const uint16_t *at = kept;
    static const uint16_t many[] = {14, 14};
    for (int g = 0; g < 2; at += many[g], b += 64 * many[g], g++)
        product(10, 5, 64, many[g], a, 20, at, b, 64, 1, c + g * 64, 0, 1, y + g * 64, 160);
    product(10, 5, 32, 14, a, 20, at, b, 32, 1, c + 128, 0, 1, y + 128, 160);
}

KERNEL k64(const float *restrict a0, float *restrict y) {
    for (int m = 0; m < 1; m++) for (int j = 0; j < 1600; j++) {
        const float x0 = a0[j];
        const float t0 = tanh_(x0);
        y[m * 160 + j] = t0;
    }
}

KERNEL k65(const float *restrict a, const float *restrict b, const float *restrict c, float *restrict y) {
    product(10, 5, 64, 20, a, 20, 0, b, 64, 0, c, 0, 1, y, 64);
}

KERNEL k66(const float *restrict a, const float *restrict b, float *restrict y) {
    product(10, 5, 6, 160, a, 160, 0, b, 16, 1, 0, 0, 1, y + 0, 6);
}

KERNEL k67(const float *restrict a, const float *restrict b, const float *restrict c, float *restrict y) {
    static const uint16_t kept[] = {0, 1, 2, 3, 4, 5, 1, 2, 3, 4, 5};
    const uint16_t *at = kept;
    static const uint16_t many[] = {6, 2, 0, 3};
    for (int g = 0; g < 4; at += many[g], b += 16 * many[g], g++)
        product(10, 5, 16, many[g], a, 6, at, b, 16, 1, c + g * 16, 64, 1, y + g * 16, 64);
}

KERNEL k68(const float *restrict a, float *restrict y) {
    for (int m = 0; m < 10; m++) {
        float sum = 0.0f;
        for (int j = 0; j < 12; j++) { const float x = a[m * 64 + j]; sum += x * x; }
        const float f = sum == 0.0f ? 0.0f : 1.0f / sqrtf(sum); for (int j = 0; j < 12; j++) y[m * 12 + j] = f * a[m * 64 + j];
    }
}

KERNEL k69(const float *restrict a0, float *restrict y) {
    for (int m = 0; m < 1; m++) for (int j = 0; j < 120; j++) {
        const float x0 = a0[j];
        const float t0 = x0 * x0;
        y[m * 12 + j] = t0;
    }
}

KERNEL k70(const float *restrict a, const float *restrict b, float *restrict y) {
    product(10, 5, 52, 12, a, 12, 0, b, 64, 1, 0, 0, 1, y + 0, 52);
}

KERNEL k71(const float *restrict a0, const float *restrict a1, float *restrict y) {
    for (int m = 0; m < 10; m++) for (int j = 0; j < 52; j++) {
        const float x0 = a0[m * 52 + j];
        const float x1 = a1[m * 64 + j];
        const float t0 = x0 * x1;
        y[m * 52 + j] = t0;
    }
}

KERNEL k72(const float *restrict a, const float *restrict b, float *restrict y) {
    product(10, 5, 16, 52, a, 52, 0, b, 16, 1, 0, 0, 1, y + 0, 20);
}

KERNEL k73(const float *restrict a, const float *restrict b, const float *restrict c, float *restrict y) {
    static const uint16_t kept[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 1, 2, 10, 11};
    const uint16_t *at = kept;
    static const uint16_t many[] = {12};
    for (int g = 0; g < 1; at += many[g], b += 16 * many[g], g++)
        product(5, 5, 16, many[g], a, 20, at, b, 16, 1, c + g * 16, 0, 1, y + g * 16, 24);
    product(5, 5, 8, 4, a, 20, at, b, 16, 1, c + 16, 0, 1, y + 16, 24);
}

KERNEL k74(const float *restrict a, const float *restrict b, const float *restrict c, float *restrict y) {
    static const uint16_t kept[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17};
    const uint16_t *at = kept;
    product(5, 5, 3, 18, a, 43, at, b, 16, 1, c + 0, 3, 1, y + 0, 3);
}

KERNEL k75(const float *restrict a, float *restrict y) {
    for (int m = 0; m < 5; m++) memcpy(y + m * 43, a + m * 20, 64);
}

KERNEL k76(const float *restrict a, float *restrict y) {
    static const uint16_t at[] = {5, 6, 7, 8, 9, 15, 16, 17, 18, 19, 25, 26, 27, 28, 29, 35, 36, 37, 38, 39, 45, 46, 47, 48, 49, 55, 56, 57, 58, 59, 65, 66, 67, 68, 69, 75, 76, 77, 78, 79, 85, 86, 87, 88, 89, 95, 96, 97, 98, 99, 105, 106, 107, 108, 109, 115, 116, 117, 118, 119};
    for (int m = 0; m < 60; m++) memcpy(y + m * 160, a + at[m] * 160, 640);
}

KERNEL k77(const float *restrict a, float *restrict y) {
    static const uint16_t at[] = {5, 6, 7, 8, 9, 15, 16, 17, 18, 19, 25, 26, 27, 28, 29, 35, 36, 37, 38, 39, 45, 46, 47, 48, 49, 55, 56, 57, 58, 59, 65, 66, 67, 68, 69, 75, 76, 77, 78, 79, 85, 86, 87, 88, 89, 95, 96, 97, 98, 99, 105, 106, 107, 108, 109, 115, 116, 117, 118, 119};
    for (int m = 0; m < 60; m++) memcpy(y + m * 12, a + at[m] * 12, 48);
}

KERNEL k78(const float *restrict a, float *restrict y) {
    static const uint16_t at[] = {5, 6, 7, 8, 9, 15, 16, 17, 18, 19, 25, 26, 27, 28, 29, 35, 36, 37, 38, 39, 45, 46, 47, 48, 49, 55, 56, 57, 58, 59, 65, 66, 67, 68, 69, 75, 76, 77, 78, 79, 85, 86, 87, 88, 89, 95, 96, 97, 98, 99, 105, 106, 107, 108, 109, 115, 116, 117, 118, 119};
    for (int m = 0; m < 60; m++) memcpy(y + m * 52, a + at[m] * 52, 208);
}

KERNEL k79(const float *restrict a, float *restrict y) {
    static const uint16_t at[] = {5, 6, 7, 8, 9, 15, 16, 17, 18, 19, 25, 26, 27, 28, 29, 35, 36, 37, 38, 39, 45, 46, 47, 48, 49, 55, 56, 57, 58, 59, 65, 66, 67, 68, 69, 75, 76, 77, 78, 79, 85, 86, 87, 88, 89, 95, 96, 97, 98, 99, 105, 106, 107, 108, 109, 115, 116, 117, 118, 119};
    for (int m = 0; m < 60; m++) memcpy(y + m * 4, a + at[m] * 4, 16);
}

KERNEL k80(const float *restrict a, const float *restrict b, float *restrict y) {
    product(60, 6, 16, 52, a, 52, 0, b, 16, 1, 0, 0, 1, y + 0, 16);
}

KERNEL k81(const float *restrict a, const float *restrict b, float *restrict y) {
    static const uint16_t kept[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 1, 2, 10, 11};
    const uint16_t *at = kept;
    static const uint16_t many[] = {12};
    for (int g = 0; g < 1; at += many[g], b += 16 * many[g], g++)
        product(60, 6, 16, many[g], a, 16, at, b, 16, 1, 0, 0, 1, y + g * 16, 18);
    product(60, 6, 2, 4, a, 16, at, b, 16, 1, 0, 0, 1, y + 16, 18);
}

KERNEL k82(const float *restrict a0, float *restrict y) {
    for (int m = 0; m < 1; m++) for (int j = 0; j < 1080; j++) {
        const float x0 = a0[j];
        const float t0 = x0 * x0;
        y[m * 18 + j] = t0;
    }
}

KERNEL k83(const float *restrict a, const float *restrict b, float *restrict y) {
    product(60, 6, 3, 18, a, 18, 0, b, 16, 1, 0, 0, 1, y + 0, 3);
}

KERNEL k84(const float *restrict w, const float *restrict b, const float *restrict c, float *restrict y) {
    static const uint16_t many[] = {1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 4, 4, 4, 4, 4, 5, 5, 5, 5, 5, 6, 6, 6, 6, 6, 7, 7, 7, 7, 7, 8, 8, 8, 8, 8, 9, 9, 9, 9, 9, 10, 10, 10, 10, 10, 11, 11, 11, 11, 11, 12, 12, 12, 12, 12};
    static const uint16_t kept[] = {0, 1, 2, 3, 4, 0, 5, 1, 6, 2, 7, 3, 8, 4, 9, 0, 5, 10, 1, 6, 11, 2, 7, 12, 3, 8, 13, 4, 9, 14, 0, 5, 10, 15, 1, 6, 11, 16, 2, 7, 12, 17, 3, 8, 13, 18, 4, 9, 14, 19, 0, 5, 10, 15, 20, 1, 6, 11, 16, 21, 2, 7, 12, 17, 22, 3, 8, 13, 18, 23, 4, 9, 14, 19, 24, 0, 5, 10, 15, 20, 25, 1, 6, 11, 16, 21, 26, 2, 7, 12, 17, 22, 27, 3, 8, 13, 18, 23, 28, 4, 9, 14, 19, 24, 29, 0, 5, 10, 15, 20, 25, 30, 1, 6, 11, 16, 21, 26, 31, 2, 7, 12, 17, 22, 27, 32, 3, 8, 13, 18, 23, 28, 33, 4, 9, 14, 19, 24, 29, 34, 0, 5, 10, 15, 20, 25, 30, 35, 1, 6, 11, 16, 21, 26, 31, 36, 2, 7, 12, 17, 22, 27, 32, 37, 3, 8, 13, 18, 23, 28, 33, 38, 4, 9, 14, 19, 24, 29, 34, 39, 0, 5, 10, 15, 20, 25, 30, 35, 40, 1, 6, 11, 16, 21, 26, 31, 36, 41, 2, 7, 12, 17, 22, 27, 32, 37, 42, 3, 8, 13, 18, 23, 28, 33, 38, 43, 4, 9, 14, 19, 24, 29, 34, 39, 44, 0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 1, 6, 11, 16, 21, 26, 31, 36, 41, 46, 2, 7, 12, 17, 22, 27, 32, 37, 42, 47, 3, 8, 13, 18, 23, 28, 33, 38, 43, 48, 4, 9, 14, 19, 24, 29, 34, 39, 44, 49, 0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 1, 6, 11, 16, 21, 26, 31, 36, 41, 46, 51, 2, 7, 12, 17, 22, 27, 32, 37, 42, 47, 52, 3, 8, 13, 18, 23, 28, 33, 38, 43, 48, 53, 4, 9, 14, 19, 24, 29, 34, 39, 44, 49, 54, 0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 1, 6, 11, 16, 21, 26, 31, 36, 41, 46, 51, 56, 2, 7, 12, 17, 22, 27, 32, 37, 42, 47, 52, 57, 3, 8, 13, 18, 23, 28, 33, 38, 43, 48, 53, 58, 4, 9, 14, 19, 24, 29, 34, 39, 44, 49, 54, 59};
    const uint16_t *at = kept;
    for (int m = 0; m < 60; at += many[m], w += many[m], m++)
        combine(3, many[m], at, w, b, 3, c, 1, y + m * 3);
}

KERNEL k85(const float *restrict a, const float *restrict b, const float *restrict c, float *restrict y) {
    product(60, 6, 3, 3, a, 3, 0, b, 16, 1, c + 0, 3, 1, y + 0, 3);
}

KERNEL k86(const float *restrict a, const float *restrict b, const float *restrict c, float *restrict y) {
    static const uint16_t kept[] = {5, 6, 8, 12, 13, 14};
    const uint16_t *at = kept;
    product(60, 6, 16, 6, a, 16, at, b, 16, 1, c + 0, 16, 1, y + 0, 16);
}

KERNEL k87(const float *restrict w, const float *restrict b, const float *restrict c, float *restrict y) {
    static const uint16_t many[] = {12, 12, 12, 12, 12};
    static const uint16_t kept[] = {0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 1, 6, 11, 16, 21, 26, 31, 36, 41, 46, 51, 56, 2, 7, 12, 17, 22, 27, 32, 37, 42, 47, 52, 57, 3, 8, 13, 18, 23, 28, 33, 38, 43, 48, 53, 58, 4, 9, 14, 19, 24, 29, 34, 39, 44, 49, 54, 59};
    const uint16_t *at = kept;
    for (int m = 0; m < 5; at += many[m], w += many[m], m++)
        combine(3, many[m], at, w, b, 3, c, 1, y + m * 3);
}

KERNEL k88(const float *restrict a0, float *restrict y) {
    for (int m = 0; m < 5; m++) for (int j = 0; j < 3; j++) {
        const float x0 = a0[m * 3 + j];
        const float t0 = least_(greatest_(x0, -0x1.8000000000000p+0f), 0x1.8000000000000p+0f);
        y[m * 22 + j] = t0;
    }
}

KERNEL k89(const float *restrict a, float *restrict y) {
    for (int m = 0; m < 5; m++) memcpy(y + m * 22, a + m * 16, 64);
}

KERNEL k90(const float *restrict a, float *restrict y) {
    for (int m = 0; m < 5; m++) memcpy(y + m * 22, a + m * 3, 12);
}

KERNEL k91(const float *restrict a, const float *restrict b, const float *restrict c, float *restrict y) {
    static const uint16_t kept[] = {5, 6, 8, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21};
    const uint16_t *at = kept;
    static const uint16_t many[] = {14};
    for (int g = 0; g < 1; at += many[g], b += 64 * many[g], g++)
        product(5, 5, 64, many[g], a, 22, at, b, 64, 1, c + g * 64, 0, 1, y + g * 64, 64);
}

KERNEL k92(const float *restrict a0, float *restrict y) {
    for (int m = 0; m < 1; m++) for (int j = 0; j < 320; j++) {
        const float x0 = a0[j];
        const float t0 = tanh_(x0);
        const float t1 = t0 * t0;
        y[m * 64 + j] = t1;
    }
}

KERNEL k93(const float *restrict a0, const float *restrict a1, float *restrict y) {
    for (int m = 0; m < 1; m++) for (int j = 0; j < 320; j++) {
        const float x0 = a0[j];
        const float x1 = a1[j];
        const float t0 = x1 * x1;
        const float t1 = 0x1.0000000000000p+0f - t0;
        const float t2 = x0 * t1;
        y[m * 64 + j] = t2;
    }
}

KERNEL k94(const float *restrict a, const float *restrict b, float *restrict y) {
    product(5, 5, 3, 64, a, 64, 0, b, 16, 1, 0, 0, 1, y + 0, 3);
}

KERNEL k95(const float *restrict a0, const float *restrict a1, const float *restrict a2, float *restrict y) {
    for (int m = 0; m < 5; m++) for (int j = 0; j < 3; j++) {
        const float x0 = a0[m * 3 + j];
        const float x1 = a1[m * 22 + j];
        const float x2 = a2[m * 3 + j];
        const float t0 = (float)(x0 == x1);
        const float t1 = (t0 != 0.0f ? x2 : 0x0.0p+0f);
        y[m * 3 + j] = t1;
    }
}

KERNEL k96(const float *restrict w, const float *restrict b, const float *restrict c, float *restrict y) {
    static const uint16_t many[] = {12, 12, 12, 12, 12, 11, 11, 11, 11, 11, 10, 10, 10, 10, 10, 9, 9, 9, 9, 9, 8, 8, 8, 8, 8, 7, 7, 7, 7, 7, 6, 6, 6, 6, 6, 5, 5, 5, 5, 5, 4, 4, 4, 4, 4, 3, 3, 3, 3, 3, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1};
    static const uint16_t kept[] = {0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 1, 6, 11, 16, 21, 26, 31, 36, 41, 46, 51, 56, 2, 7, 12, 17, 22, 27, 32, 37, 42, 47, 52, 57, 3, 8, 13, 18, 23, 28, 33, 38, 43, 48, 53, 58, 4, 9, 14, 19, 24, 29, 34, 39, 44, 49, 54, 59, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 6, 11, 16, 21, 26, 31, 36, 41, 46, 51, 56, 7, 12, 17, 22, 27, 32, 37, 42, 47, 52, 57, 8, 13, 18, 23, 28, 33, 38, 43, 48, 53, 58, 9, 14, 19, 24, 29, 34, 39, 44, 49, 54, 59, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 11, 16, 21, 26, 31, 36, 41, 46, 51, 56, 12, 17, 22, 27, 32, 37, 42, 47, 52, 57, 13, 18, 23, 28, 33, 38, 43, 48, 53, 58, 14, 19, 24, 29, 34, 39, 44, 49, 54, 59, 15, 20, 25, 30, 35, 40, 45, 50, 55, 16, 21, 26, 31, 36, 41, 46, 51, 56, 17, 22, 27, 32, 37, 42, 47, 52, 57, 18, 23, 28, 33, 38, 43, 48, 53, 58, 19, 24, 29, 34, 39, 44, 49, 54, 59, 20, 25, 30, 35, 40, 45, 50, 55, 21, 26, 31, 36, 41, 46, 51, 56, 22, 27, 32, 37, 42, 47, 52, 57, 23, 28, 33, 38, 43, 48, 53, 58, 24, 29, 34, 39, 44, 49, 54, 59, 25, 30, 35, 40, 45, 50, 55, 26, 31, 36, 41, 46, 51, 56, 27, 32, 37, 42, 47, 52, 57, 28, 33, 38, 43, 48, 53, 58, 29, 34, 39, 44, 49, 54, 59, 30, 35, 40, 45, 50, 55, 31, 36, 41, 46, 51, 56, 32, 37, 42, 47, 52, 57, 33, 38, 43, 48, 53, 58, 34, 39, 44, 49, 54, 59, 35, 40, 45, 50, 55, 36, 41, 46, 51, 56, 37, 42, 47, 52, 57, 38, 43, 48, 53, 58, 39, 44, 49, 54, 59, 40, 45, 50, 55, 41, 46, 51, 56, 42, 47, 52, 57, 43, 48, 53, 58, 44, 49, 54, 59, 45, 50, 55, 46, 51, 56, 47, 52, 57, 48, 53, 58, 49, 54, 59, 50, 55, 51, 56, 52, 57, 53, 58, 54, 59, 55, 56, 57, 58, 59};
    const uint16_t *at = kept;
    for (int m = 0; m < 60; at += many[m], w += many[m], m++)
        combine(3, many[m], at, w, b, 3, c + m * 3, 1, y + m * 3);
}

KERNEL k97(const float *restrict w, const float *restrict b, const float *restrict c, float *restrict y) {
    static const uint16_t many[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    static const uint16_t kept[] = {0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4};
    const uint16_t *at = kept;
    for (int m = 0; m < 60; at += many[m], w += many[m], m++)
        combine(3, many[m], at, w, b, 3, c + m * 3, 1, y + m * 3);
}

KERNEL k98(const float *restrict w, const float *restrict b, const float *restrict c, float *restrict y) {
    static const uint16_t many[] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1};
    static const uint16_t kept[] = {0, 1, 2, 3, 4};
    const uint16_t *at = kept;
    for (int m = 0; m < 60; at += many[m], w += many[m], m++)
        combine(3, many[m], at, w, b, 3, c + m * 3, 1, y + m * 3);
}

KERNEL k99(const float *restrict a, const float *restrict b, const float *restrict c, float *restrict y) {
    product(60, 6, 24, 160, a, 160, 0, b, 32, 1, c + 0, 0, 1, y + 0, 24);
}

KERNEL k100(const float *restrict a, const float *restrict b, float *restrict y) {
    static const uint16_t kept[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 18, 19, 20, 21, 22, 23};
    const uint16_t *at = kept;
    static const uint16_t many[] = {24, 18};
    for (int g = 0; g < 2; at += many[g], b += 64 * many[g], g++)
        product(60, 6, 64, many[g], a, 24, at, b, 64, 1, 0, 0, 1, y + g * 64, 160);
    product(60, 6, 32, 6, a, 24, at, b, 32, 1, 0, 0, 1, y + 128, 160);
}

KERNEL k101(const float *restrict a, const float *restrict b, float *restrict y) {
    static const uint16_t kept[] = {0, 1, 2, 2};
    const uint16_t *at = kept;
    static const uint16_t many[] = {3};
    for (int g = 0; g < 1; at += many[g], b += 16 * many[g], g++)
        product(60, 6, 16, many[g], a, 3, at, b, 16, 1, 0, 0, 1, y + g * 16, 18);
    product(60, 6, 2, 1, a, 3, at, b, 16, 1, 0, 0, 1, y + 16, 18);
}

KERNEL k102(const float *restrict a0, const float *restrict a1, float *restrict y) {
    for (int m = 0; m < 1; m++) for (int j = 0; j < 1080; j++) {
        const float x0 = a0[j];
        const float x1 = a1[j];
        const float t0 = x0 * x1;
        y[m * 18 + j] = t0;
    }
}

KERNEL k103(const float *restrict a, const float *restrict b, const float *restrict c, float *restrict y) {
    product(60, 6, 16, 18, a, 18, 0, b, 16, 1, c + 0, 16, 1, y + 0, 16);
}

KERNEL k104(const float *restrict a, const float *restrict b, float *restrict y) {
    product(60, 6, 4, 4, a, 4, 0, b, 16, 1, 0, 0, 1, y + 0, 4);
}

KERNEL k105(const float *restrict w, const float *restrict b, const float *restrict c, float *restrict y) {
    static const uint16_t many[] = {2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 2, 2, 2, 2, 2};
    static const uint16_t kept[] = {0, 5, 1, 6, 2, 7, 3, 8, 4, 9, 0, 5, 10, 1, 6, 11, 2, 7, 12, 3, 8, 13, 4, 9, 14, 5, 10, 15, 6, 11, 16, 7, 12, 17, 8, 13, 18, 9, 14, 19, 10, 15, 20, 11, 16, 21, 12, 17, 22, 13, 18, 23, 14, 19, 24, 15, 20, 25, 16, 21, 26, 17, 22, 27, 18, 23, 28, 19, 24, 29, 20, 25, 30, 21, 26, 31, 22, 27, 32, 23, 28, 33, 24, 29, 34, 25, 30, 35, 26, 31, 36, 27, 32, 37, 28, 33, 38, 29, 34, 39, 30, 35, 40, 31, 36, 41, 32, 37, 42, 33, 38, 43, 34, 39, 44, 35, 40, 45, 36, 41, 46, 37, 42, 47, 38, 43, 48, 39, 44, 49, 40, 45, 50, 41, 46, 51, 42, 47, 52, 43, 48, 53, 44, 49, 54, 45, 50, 55, 46, 51, 56, 47, 52, 57, 48, 53, 58, 49, 54, 59, 50, 55, 51, 56, 52, 57, 53, 58, 54, 59};
    const uint16_t *at = kept;
    for (int m = 0; m < 60; at += many[m], w += many[m], m++)
        combine(4, many[m], at, w, b, 4, c + m * 4, 1, y + m * 4);
}

KERNEL k106(const float *restrict a, const float *restrict b, const float *restrict c, float *restrict y) {
    product(60, 6, 4, 4, a, 4, 0, b, 16, 1, c + 0, 4, 1, y + 0, 4);
}

KERNEL k107(const float *restrict a0, float *restrict y) {
    for (int m = 0; m < 1; m++) for (int j = 0; j < 9600; j++) {
        const float x0 = a0[j];
        const float t0 = x0 * x0;
        const float t1 = 0x1.0000000000000p+0f - t0;
        y[m * 160 + j] = t1;
    }
}

KERNEL k108(const float *restrict a, const float *restrict b, float *restrict y) {
    static const uint16_t kept[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 3, 4, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 9, 10, 12, 13, 15, 16, 18, 19, 20, 21, 22, 23, 24, 25, 26, 18, 19, 21, 22, 24, 25, 27, 28, 29, 30, 31, 32, 33, 34, 35, 27, 28, 29, 30, 31, 32, 33, 34, 35};
    const uint16_t *at = kept;
    static const uint16_t many[] = {9, 15, 15, 15};
    for (int g = 0; g < 4; at += many[g], b += 16 * many[g], g++)
        product(60, 6, 16, many[g], a, 52, at, b, 16, 1, 0, 0, 1, y + g * 16, 72);
    product(60, 6, 8, 9, a, 52, at, b, 16, 1, 0, 0, 1, y + 64, 72);
}

KERNEL k109(const float *restrict a, const float *restrict b, float *restrict y) {
    for (int g = 0; g < 1; b += 64 * 12, g++)
        product(60, 6, 64, 12, a, 12, 0, b, 64, 1, 0, 0, 1, y + g * 64, 72);
    product(60, 6, 8, 12, a, 12, 0, b, 16, 1, 0, 0, 1, y + 64, 72);
}

KERNEL k110(const float *restrict a0, const float *restrict a1, float *restrict y) {
    for (int m = 0; m < 1; m++) for (int j = 0; j < 4320; j++) {
        const float x0 = a0[j];
        const float x1 = a1[j];
        const float t0 = x0 * x1;
        y[m * 72 + j] = t0;
    }
}

KERNEL k111(const float *restrict a, const float *restrict b, float *restrict y) {
    static const uint16_t kept[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63, 64, 65, 66, 67, 68, 69, 70, 71};
    const uint16_t *at = kept;
    static const uint16_t many[] = {32, 32};
    for (int g = 0; g < 2; at += many[g], b += 16 * many[g], g++)
        product(60, 6, 16, many[g], a, 72, at, b, 16, 1, 0, 0, 1, y + g * 16, 88);
    product(60, 6, 4, 8, a, 72, at, b, 16, 1, 0, 0, 1, y + 32, 88);
}

KERNEL k112(const float *restrict a, const float *restrict b, float *restrict y) {
    product(60, 6, 52, 12, a, 12, 0, b, 64, 1, 0, 0, 1, y + 0, 88);
}

KERNEL k113(const float *restrict a, const float *restrict b, const float *restrict c, float *restrict y) {
    product(5, 5, 16, 64, a, 64, 0, b, 16, 1, c + 0, 16, 1, y + 0, 16);
}

KERNEL k114(const float *restrict a, const float *restrict b, float *restrict y) {
    static const uint16_t kept[] = {0, 1, 2, 3, 4, 5, 4, 5, 6, 7, 8, 9, 10, 11, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0, 1, 2, 3, 12, 13, 14, 15, 4, 5, 6, 7, 8, 9, 9, 10, 11};
    const uint16_t *at = kept;
    static const uint16_t many[] = {6, 8, 12, 8, 6};
    for (int g = 0; g < 5; at += many[g], b += 16 * many[g], g++)
        product(5, 5, 16, many[g], a, 16, at, b, 16, 1, 0, 0, 1, y + g * 16, 88);
    product(5, 5, 8, 3, a, 16, at, b, 16, 1, 0, 0, 1, y + 80, 88);
}

KERNEL k115(const float *restrict a0, const float *restrict a1, float *restrict y) {
    for (int m = 0; m < 1; m++) for (int j = 0; j < 440; j++) {
        const float x0 = a0[j];
        const float x1 = a1[j];
        const float t0 = x0 * x1;
        y[m * 88 + j] = t0;
    }
}

KERNEL k116(const float *restrict a, const float *restrict b, float *restrict y) {
    static const uint16_t kept[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 48, 49, 50, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63, 64, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79, 80, 81, 82, 83, 84, 85, 86, 87};
    const uint16_t *at = kept;
    product(5, 5, 6, 48, a, 88, at, b, 16, 1, 0, 0, 1, y + 0, 6);
}

KERNEL k117(const float *restrict a, const float *restrict b, const float *restrict c, float *restrict y) {
    for (int g = 0; g < 2; b += 64 * 6, g++)
        product(5, 5, 64, 6, a, 6, 0, b, 64, 1, c + g * 64, 160, 1, y + g * 64, 160);
    product(5, 5, 32, 6, a, 6, 0, b, 32, 1, c + 128, 160, 1, y + 128, 160);
}

KERNEL k118(const float *restrict a0, const float *restrict a1, float *restrict y) {
    for (int m = 0; m < 1; m++) for (int j = 0; j < 800; j++) {
        const float x0 = a0[j];
        const float x1 = a1[j];
        const float t0 = x0 * x1;
        y[m * 160 + j] = t0;
    }
}

KERNEL k119(const float *restrict a, const float *restrict b, const float *restrict c, float *restrict y) {
    product(5, 5, 16, 88, a, 88, 0, b, 16, 0, c, 16, 1, y, 16);
}

KERNEL k120(const float *restrict a, const float *restrict b, const float *restrict c, float *restrict y) {
    product(5, 5, 16, 160, a, 160, 0, b, 16, 1, c + 0, 16, 1, y + 0, 16);
}

KERNEL k121(const float *restrict a, const float *restrict b, const float *restrict c, float *restrict y) {
    static const uint16_t kept[] = {6, 7, 8, 38, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63, 64, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79, 80, 81, 82, 83, 84, 85, 86, 87};
    const uint16_t *at = kept;
    product(60, 6, 4, 44, a, 88, at, b, 16, 1, c + 0, 4, 1, y + 0, 4);
}

KERNEL k122(const float *restrict a, const float *restrict b, const float *restrict c, float *restrict y) {
    product(60, 6, 4, 160, a, 160, 0, b, 16, 1, c + 0, 4, 1, y + 0, 4);
}

KERNEL k123(const float *restrict a0, const float *restrict a1, float *restrict y) {
    for (int m = 0; m < 1; m++) for (int j = 0; j < 240; j++) {
        const float x0 = a0[j];
        const float x1 = a1[j];
        const float t0 = x0 * x1;
        y[m * 4 + j] = t0;
    }
}

KERNEL k124(const float *restrict a0, float *restrict y) {
    for (int m = 0; m < 1; m++) for (int j = 0; j < 240; j++) {
        const float x0 = a0[j];
        const float t0 = x0 * x0;
        y[m * 4 + j] = t0;
    }
}

KERNEL k125(const float *restrict w, const float *restrict b, const float *restrict c, float *restrict y) {
    static const uint16_t many[] = {12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12};
    static const uint16_t kept[] = {0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 1, 6, 11, 16, 21, 26, 31, 36, 41, 46, 51, 56, 2, 7, 12, 17, 22, 27, 32, 37, 42, 47, 52, 57, 3, 8, 13, 18, 23, 28, 33, 38, 43, 48, 53, 58, 4, 9, 14, 19, 24, 29, 34, 39, 44, 49, 54, 59, 0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 1, 6, 11, 16, 21, 26, 31, 36, 41, 46, 51, 56, 2, 7, 12, 17, 22, 27, 32, 37, 42, 47, 52, 57, 3, 8, 13, 18, 23, 28, 33, 38, 43, 48, 53, 58, 4, 9, 14, 19, 24, 29, 34, 39, 44, 49, 54, 59, 0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 1, 6, 11, 16, 21, 26, 31, 36, 41, 46, 51, 56, 2, 7, 12, 17, 22, 27, 32, 37, 42, 47, 52, 57, 3, 8, 13, 18, 23, 28, 33, 38, 43, 48, 53, 58, 4, 9, 14, 19, 24, 29, 34, 39, 44, 49, 54, 59, 0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 1, 6, 11, 16, 21, 26, 31, 36, 41, 46, 51, 56, 2, 7, 12, 17, 22, 27, 32, 37, 42, 47, 52, 57, 3, 8, 13, 18, 23, 28, 33, 38, 43, 48, 53, 58, 4, 9, 14, 19, 24, 29, 34, 39, 44, 49, 54, 59, 0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 1, 6, 11, 16, 21, 26, 31, 36, 41, 46, 51, 56, 2, 7, 12, 17, 22, 27, 32, 37, 42, 47, 52, 57, 3, 8, 13, 18, 23, 28, 33, 38, 43, 48, 53, 58, 4, 9, 14, 19, 24, 29, 34, 39, 44, 49, 54, 59, 0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 1, 6, 11, 16, 21, 26, 31, 36, 41, 46, 51, 56, 2, 7, 12, 17, 22, 27, 32, 37, 42, 47, 52, 57, 3, 8, 13, 18, 23, 28, 33, 38, 43, 48, 53, 58, 4, 9, 14, 19, 24, 29, 34, 39, 44, 49, 54, 59, 0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 1, 6, 11, 16, 21, 26, 31, 36, 41, 46, 51, 56, 2, 7, 12, 17, 22, 27, 32, 37, 42, 47, 52, 57, 3, 8, 13, 18, 23, 28, 33, 38, 43, 48, 53, 58, 4, 9, 14, 19, 24, 29, 34, 39, 44, 49, 54, 59, 0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 1, 6, 11, 16, 21, 26, 31, 36, 41, 46, 51, 56, 2, 7, 12, 17, 22, 27, 32, 37, 42, 47, 52, 57, 3, 8, 13, 18, 23, 28, 33, 38, 43, 48, 53, 58, 4, 9, 14, 19, 24, 29, 34, 39, 44, 49, 54, 59, 0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 1, 6, 11, 16, 21, 26, 31, 36, 41, 46, 51, 56, 2, 7, 12, 17, 22, 27, 32, 37, 42, 47, 52, 57, 3, 8, 13, 18, 23, 28, 33, 38, 43, 48, 53, 58, 4, 9, 14, 19, 24, 29, 34, 39, 44, 49, 54, 59, 0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 1, 6, 11, 16, 21, 26, 31, 36, 41, 46, 51, 56, 2, 7, 12, 17, 22, 27, 32, 37, 42, 47, 52, 57, 3, 8, 13, 18, 23, 28, 33, 38, 43, 48, 53, 58, 4, 9, 14, 19, 24, 29, 34, 39, 44, 49, 54, 59, 0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 1, 6, 11, 16, 21, 26, 31, 36, 41, 46, 51, 56, 2, 7, 12, 17, 22, 27, 32, 37, 42, 47, 52, 57, 3, 8, 13, 18, 23, 28, 33, 38, 43, 48, 53, 58, 4, 9, 14, 19, 24, 29, 34, 39, 44, 49, 54, 59, 0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 1, 6, 11, 16, 21, 26, 31, 36, 41, 46, 51, 56, 2, 7, 12, 17, 22, 27, 32, 37, 42, 47, 52, 57, 3, 8, 13, 18, 23, 28, 33, 38, 43, 48, 53, 58, 4, 9, 14, 19, 24, 29, 34, 39, 44, 49, 54, 59};
    const uint16_t *at = kept;
    for (int m = 0; m < 60; at += many[m], w += many[m], m++)
        combine(4, many[m], at, w, b, 4, c, 1, y + m * 4);
}

KERNEL k126(const float *restrict a0, const float *restrict a1, const float *restrict a2, float *restrict y) {
    for (int m = 0; m < 1; m++) for (int j = 0; j < 240; j++) {
        const float x0 = a0[j];
        const float x1 = a1[j];
        const float x2 = a2[j];
        const float t0 = sqrtf(x2);
        const float t1 = x1 / t0;
        const float t2 = x0 + t1;
        const float t3 = least_(greatest_(t2, -0x1.0000000000000p+0f), 0x1.0000000000000p+0f);
        y[m * 4 + j] = t3;
    }
}

KERNEL k127(const float *restrict a, const float *restrict b, const float *restrict c, float *restrict y) {
    for (int g = 0; g < 2; b += 64 * 4, g++)
        product(60, 6, 64, 4, a, 4, 0, b, 64, 1, c + g * 64, 0, 1, y + g * 64, 160);
    product(60, 6, 32, 4, a, 4, 0, b, 32, 1, c + 128, 0, 1, y + 128, 160);
}

KERNEL k128(const float *restrict a, const float *restrict b, const float *restrict c, float *restrict y) {
    static const uint16_t kept[] = {0, 1, 2, 3, 3, 0, 1, 2, 3};
    const uint16_t *at = kept;
    static const uint16_t many[] = {4, 1, 0, 4};
    for (int g = 0; g < 4; at += many[g], b += 16 * many[g], g++)
        product(60, 6, 16, many[g], a, 4, at, b, 16, 1, c + g * 16, 0, 1, y + g * 16, 64);
}

KERNEL k129(const float *restrict a, const float *restrict b, const float *restrict c, float *restrict y) {
    static const uint16_t kept[] = {0, 1, 2, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 9, 10, 11, 12, 13, 14, 15};
    const uint16_t *at = kept;
    static const uint16_t many[] = {10, 10};
    for (int g = 0; g < 2; at += many[g], b += 64 * many[g], g++)
        product(5, 5, 64, many[g], a, 16, at, b, 64, 1, c + g * 64, 160, 1, y + g * 64, 160);
    product(5, 5, 32, 10, a, 16, at, b, 32, 1, c + 128, 160, 1, y + 128, 160);
}

KERNEL k130(const float *restrict a0, float *restrict y) {
    for (int m = 0; m < 1; m++) for (int j = 0; j < 800; j++) {
        const float x0 = a0[j];
        const float t0 = tanh_(x0);
        y[m * 160 + j] = t0;
    }
}

KERNEL k131(const float *restrict a, const float *restrict b, const float *restrict c, float *restrict y) {
    product(5, 5, 64, 16, a, 16, 0, b, 64, 0, c, 64, 1, y, 64);
}

KERNEL k132(const float *restrict a, const float *restrict b, float *restrict y) {
    product(5, 5, 6, 160, a, 160, 0, b, 16, 1, 0, 0, 1, y + 0, 6);
}

KERNEL k133(const float *restrict a, const float *restrict b, const float *restrict c, float *restrict y) {
    static const uint16_t kept[] = {0, 1, 2, 3, 4, 5, 1, 2, 3, 4, 5};
    const uint16_t *at = kept;
    static const uint16_t many[] = {6, 2, 0, 3};
    for (int g = 0; g < 4; at += many[g], b += 16 * many[g], g++)
        product(5, 5, 16, many[g], a, 6, at, b, 16, 1, c + g * 16, 64, 1, y + g * 16, 64);
}

KERNEL k134(const float *restrict a, float *restrict y) {
    for (int m = 0; m < 5; m++) {
        float sum = 0.0f;
        for (int j = 0; j < 12; j++) { const float x = a[m * 64 + j]; sum += x * x; }
        const float f = sum == 0.0f ? 0.0f : 1.0f / sqrtf(sum); for (int j = 0; j < 12; j++) y[m * 12 + j] = f * a[m * 64 + j];
    }
}

KERNEL k135(const float *restrict a0, float *restrict y) {
    for (int m = 0; m < 1; m++) for (int j = 0; j < 60; j++) {
        const float x0 = a0[j];
        const float t0 = x0 * x0;
        y[m * 12 + j] = t0;
    }
}

KERNEL k136(const float *restrict a, const float *restrict b, float *restrict y) {
    product(5, 5, 52, 12, a, 12, 0, b, 64, 1, 0, 0, 1, y + 0, 52);
}

KERNEL k137(const float *restrict a0, const float *restrict a1, float *restrict y) {
    for (int m = 0; m < 5; m++) for (int j = 0; j < 52; j++) {
        const float x0 = a0[m * 52 + j];
        const float x1 = a1[m * 64 + j];
        const float t0 = x0 * x1;
        y[m * 52 + j] = t0;
    }
}

KERNEL k138(const float *restrict a, const float *restrict b, float *restrict y) {
    product(5, 5, 16, 52, a, 52, 0, b, 16, 1, 0, 0, 1, y + 0, 16);
}

KERNEL k139(const float *restrict a, float *restrict y) {
    for (int i0 = 0; i0 < 5; i0++) for (int i1 = 0; i1 < 12; i1++) for (int i2 = 0; i2 < 4; i2++) y[i0 * 48 + i1 * 4 + i2 * 1] = a[i0 * 4 + i1 * 20 + i2 * 1];
}

KERNEL k140(const float *restrict a, const float *restrict b, const float *restrict c, float *restrict y) {
    static const uint16_t kept[] = {5, 6, 8, 12, 13, 14};
    const uint16_t *at = kept;
    product(60, 6, 12, 6, a, 16, at, b, 16, 1, c + 0, 12, 1, y + 0, 12);
}

KERNEL k141(const float *restrict a, const float *restrict b, const float *restrict c, float *restrict y) {
    product(60, 6, 12, 3, a, 3, 0, b, 16, 1, c + 0, 12, 1, y + 0, 12);
}

KERNEL k142(const float *restrict a0, float *restrict y) {
    for (int m = 0; m < 1; m++) for (int j = 0; j < 720; j++) {
        const float x0 = a0[j];
        const float t0 = x0 * x0;
        y[m * 12 + j] = t0;
    }
}

KERNEL k143(const float *restrict a, const float *restrict b, float *restrict y) {
    product(60, 6, 1, 12, a, 12, 0, b, 16, 1, 0, 0, 1, y + 0, 1);
}

KERNEL k144(const float *restrict a0, float *restrict y) {
    for (int m = 0; m < 1; m++) for (int j = 0; j < 1440; j++) {
        const float x0 = a0[j];
        const float t0 = x0 * x0;
        y[m * 24 + j] = t0;
    }
}

KERNEL k145(const float *restrict a, const float *restrict b, float *restrict y) {
    product(60, 6, 1, 24, a, 24, 0, b, 16, 1, 0, 0, 1, y + 0, 1);
}

KERNEL k146(const float *restrict w, const float *restrict b, float *restrict y) {
    static const uint16_t many[] = {12};
    static const uint16_t kept[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
    const uint16_t *at = kept;
    for (int m = 0; m < 1; at += many[m], w += many[m], m++)
        combine(5, many[m], at, w, b, 5, 0, 1, y + m * 5);
}

KERNEL k147(const float *restrict a, const float *restrict b, const float *restrict c, float *restrict y) {
    product(60, 6, 1, 24, a, 24, 0, b, 16, 1, c + 0, 1, 1, y + 0, 1);
}

KERNEL k148(const float *restrict a, const float *restrict b, const float *restrict c, float *restrict y) {
    static const uint16_t kept[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47};
    const uint16_t *at = kept;
    static const uint16_t many[] = {16, 16, 16, 16, 20, 20};
    for (int g = 0; g < 6; at += many[g], b += 16 * many[g], g++)
        product(5, 5, 16, many[g], a, 48, at, b, 16, 1, c + g * 16, 0, 1, y + g * 16, 96);
}

KERNEL k149(const float *restrict a0, float *restrict y) {
    for (int m = 0; m < 1; m++) for (int j = 0; j < 480; j++) {
        const float x0 = a0[j];
        const float t0 = x0 * x0;
        y[m * 96 + j] = t0;
    }
}

KERNEL k150(const float *restrict a, const float *restrict b, float *restrict y) {
    product(5, 5, 1, 96, a, 96, 0, b, 16, 1, 0, 0, 1, y + 0, 1);
}

KERNEL k151(const float *restrict a, const float *restrict b, const float *restrict c, float *restrict y) {
    product(5, 5, 1, 64, a, 64, 0, b, 16, 1, c + 0, 0, 1, y + 0, 1);
}

KERNEL k152(const float *restrict a0, const float *restrict a1, float *restrict y) {
    for (int m = 0; m < 1; m++) for (int j = 0; j < 5; j++) {
        const float x0 = a0[j];
        const float x1 = a1[j];
        const float t0 = x0 - x1;
        y[m * 1 + j] = t0;
    }
}

KERNEL k153(const float *restrict w, const float *restrict b, const float *restrict c, float *restrict y) {
    static const uint16_t many[] = {12};
    static const uint16_t kept[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
    const uint16_t *at = kept;
    for (int m = 0; m < 1; at += many[m], w += many[m], m++)
        combine(5, many[m], at, w, b, 5, c, 1, y + m * 5);
}

KERNEL k154(const float *restrict a, int64_t *restrict y) {
    int best = 0;
    for (int j = 1; j < 5; j++) if (a[j] > a[best]) best = j;
    y[0] = best;
}

KERNEL k155(const float *restrict a, const int64_t *restrict at, float *restrict y) {
    for (int m = 0; m < 1; m++) memcpy(y + m * 48, a + (at[m] < 0 ? at[m] + 5 : at[m]) * 48, 192);
}

KERNEL k156(const float *restrict a, float *restrict y) {
    memcpy(y, a, 192);
}

KERNEL k157(const float *restrict a, const int64_t *restrict at, float *restrict y) {
    for (int m = 0; m < 1; m++) memcpy(y + m * 1, a + (at[m] < 0 ? at[m] + 5 : at[m]) * 1, 4);
}

API void tubepilot_rollout(const float *w, float *s, void *const *p) {
    k0(((float *)p[0]), w + 3648, ((float *)p[12]));
    k1(((float *)p[2]), w, s);
    k2(((float *)p[1]), w + 3744, s, s + 16);
    k3(s + 16, s);
    k4(s + 16, s, s + 64);
    k5(((float *)p[1]), w + 3792, s + 112);
    k6(s + 64, w + 3888, s + 112, s + 272);
    k7(w + 3920, s, s + 16);
    k8(((float *)p[3]), w + 3936, w + 16, s + 32);
    k9(w + 4192, s + 272, ((float *)p[13]));
    k10(s + 16, w + 4256, s + 32, ((float *)p[14]));
    k11(w + 5024, ((float *)p[1]), s);
    k12(((float *)p[14]), w + 5040, s + 16);
    k13(((float *)p[0]), w + 9648, s + 64);
    k14(s + 64, s + 80);
    k15(s + 80, w + 9712, s + 96);
    k16(((float *)p[0]), w + 10480, w + 112, s + 160);
    k17(s + 96, s + 160, s + 224);
    k18(s + 224, w + 10928, s + 64);
    k19(w + 176, s + 64, ((float *)p[8]));
    k20(((float *)p[2]), w + 11760, w + 192, ((float *)p[9]));
    k21(((float *)p[2]), w + 12336, w + 1216, ((float *)p[10]));
    k22(((float *)p[2]), s + 64);
    k23(s + 64, w + 12912, w + 2624, s + 80);
    k24(((float *)p[2]), w + 13232, s + 80, ((float *)p[11]));
    k25(s, w + 13392, ((float *)p[12]), ((float *)p[15]));
    k26(((float *)p[2]), w + 13440, w + 2784, s + 64);
    k27(s, w + 13632, s + 64, ((float *)p[16]));
    k28(((float *)p[13]), w + 14016, ((float *)p[17]));
    k29(((float *)p[13]), w + 14112, ((float *)p[18]));
    k30(((float *)p[13]), w + 14160, ((float *)p[19]));
    k31(w + 4192, s + 16, ((float *)p[20]));
    k32(((float *)p[6]), s);
    k33(w + 14208, ((float *)p[6]), s + 16);
    k34(w + 5024, s, s + 16, s + 32);
    k35(((float *)p[4]), w + 14224, s + 48);
    k36(s + 32, s + 48, s + 288 + 240);
    k37(w + 2848, s + 288);
    k38(s + 32, s + 5);
    k39(w + 176, s);
    k40(s, w + 3088, s + 16);
    k26(((float *)p[2]), w + 15120, w + 3152, s + 80);
    k41(((float *)p[1]), w + 15312, s + 80, s + 768);
    k42(((float *)p[1]), w + 15696, s + 1600);
    k43(w + 15744, s + 1600, w + 3216, s + 1920);
    k44(((float *)p[1]), w + 13392, s + 80);
    k45(w + 5024, s + 80, s);
    k46(((float *)p[0]), w + 3744, s, s + 80);
    k47(((float *)p[8]), s + 1600);
    k47(((float *)p[8]), s + 1600 + 100);
    k48(((float *)p[9]), s + 2240);
    k49(w + 3248, s + 2240 + 1024);
    k50(w + 176, s + 80, s);
    k51(((float *)p[8]), w + 15776, s + 1920, s + 80);
    k52(s + 80, s + 3520 + 16);
    k53(s + 3520 + 16, w + 16032, s, s + 80);
    k54(s, s + 3520 + 40);
    k55(((float *)p[8]), s + 3520);
    k56(s + 3520, w + 16416, s + 768, s + 3744);
    k57(s + 3744, s + 4064);
    k58(s + 4064, w + 18272, w + 3504, s + 3520);
    k57(s + 3520, s + 3840);
    k59(s + 3840, w + 22368, w + 3568, s + 96);
    k60(s + 96, ((float *)p[5]), s + 128);
    k61(s + 16, s + 128, s + 288, s + 3520);
    k62(s + 3520, s + 1600 + 16);
    k63(s + 1600, w + 23392, ((float *)p[11]), s + 4000);
    k64(s + 4000, s + 5600);
    k65(s + 1600, s + 2240, w + 3584, s + 4000);
    k66(s + 5600, w + 25632, s + 96);
    k67(s + 96, w + 28192, s + 4000, s + 4640);
    k68(s + 4640, s + 96);
    k69(s + 96, s + 24800);
    k70(s + 24800, w + 9712, s + 4000);
    k71(s + 4000, s + 4640 + 12, s + 26240);
    k72(s + 26240, w + 10928, s + 1600);
    k73(s + 1600, w + 15776, s + 1920 + 24, s + 96);
    k52(s + 96, s + 4000 + 16);
    k74(s + 4000 + 16, w + 28368, s + 80, s);
    k53(s + 4000 + 16, w + 28656, s + 80, s + 96);
    k54(s, s + 4000 + 40);
    k75(s + 1600, s + 4000);
    k56(s + 4000, w + 16416, s + 768 + 64, s + 4224);
    k57(s + 4224, s + 4544);
    k58(s + 4544, w + 18272, w + 3504, s + 4000);
    k57(s + 4000, s + 4320);
    k59(s + 4320, w + 22368, w + 3568, s + 112);
    k60(s + 112, ((float *)p[5]) + 4, s + 144);
    k61(s + 16, s + 144, s + 288 + 4, s + 3520 + 40);
    k62(s + 3520 + 40, s + 1600 + 16);
    k63(s + 1600, w + 23392, ((float *)p[11]), s + 4000);
    k64(s + 4000, s + 5600 + 1600);
    k65(s + 1600, s + 2240, w + 3584, s + 4000);
    k66(s + 5600 + 1600, w + 25632, s + 112);
    k67(s + 112, w + 28192, s + 4000, s + 4640);
    k68(s + 4640, s + 112);
    k69(s + 112, s + 24800 + 120);
    k70(s + 24800 + 120, w + 9712, s + 4000);
    k71(s + 4000, s + 4640 + 12, s + 26240 + 520);
    k72(s + 26240 + 520, w + 10928, s + 1600);
    k73(s + 1600, w + 15776, s + 1920 + 48, s + 112);
    k52(s + 112, s + 4000 + 16);
    k74(s + 4000 + 16, w + 28368, s + 96, s);
    k53(s + 4000 + 16, w + 28656, s + 96, s + 80);
    k54(s, s + 4000 + 40);
    k75(s + 1600, s + 4000);
    k56(s + 4000, w + 16416, s + 768 + 128, s + 4224);
    k57(s + 4224, s + 4544);
    k58(s + 4544, w + 18272, w + 3504, s + 4000);
    k57(s + 4000, s + 4320);
    k59(s + 4320, w + 22368, w + 3568, s + 96);
    k60(s + 96, ((float *)p[5]) + 8, s + 128);
    k61(s + 16, s + 128, s + 288 + 8, s + 3520 + 80);
    k62(s + 3520 + 80, s + 1600 + 16);
    k63(s + 1600, w + 23392, ((float *)p[11]), s + 4000);
    k64(s + 4000, s + 5600 + 3200);
    k65(s + 1600, s + 2240, w + 3584, s + 4000);
    k66(s + 5600 + 3200, w + 25632, s + 96);
    k67(s + 96, w + 28192, s + 4000, s + 4640);
    k68(s + 4640, s + 96);
    k69(s + 96, s + 24800 + 240);
    k70(s + 24800 + 240, w + 9712, s + 4000);
    k71(s + 4000, s + 4640 + 12, s + 26240 + 1040);
    k72(s + 26240 + 1040, w + 10928, s + 1600);
    k73(s + 1600, w + 15776, s + 1920 + 72, s + 96);
    k52(s + 96, s + 4000 + 16);
    k74(s + 4000 + 16, w + 28368, s + 80, s);
    k53(s + 4000 + 16, w + 28656, s + 80, s + 96);
    k54(s, s + 4000 + 40);
    k75(s + 1600, s + 4000);
    k56(s + 4000, w + 16416, s + 768 + 192, s + 4224);
    k57(s + 4224, s + 4544);
    k58(s + 4544, w + 18272, w + 3504, s + 4000);
    k57(s + 4000, s + 4320);
    k59(s + 4320, w + 22368, w + 3568, s + 112);
    k60(s + 112, ((float *)p[5]) + 12, s + 144);
    k61(s + 16, s + 144, s + 288 + 12, s + 3520 + 120);
    k62(s + 3520 + 120, s + 1600 + 16);
    k63(s + 1600, w + 23392, ((float *)p[11]), s + 4000);
    k64(s + 4000, s + 5600 + 4800);
    k65(s + 1600, s + 2240, w + 3584, s + 4000);
    k66(s + 5600 + 4800, w + 25632, s + 112);
    k67(s + 112, w + 28192, s + 4000, s + 4640);
    k68(s + 4640, s + 112);
    k69(s + 112, s + 24800 + 360);
    k70(s + 24800 + 360, w + 9712, s + 4000);
    k71(s + 4000, s + 4640 + 12, s + 26240 + 1560);
    k72(s + 26240 + 1560, w + 10928, s + 1600);
    k73(s + 1600, w + 15776, s + 1920 + 96, s + 112);
    k52(s + 112, s + 4000 + 16);
    k74(s + 4000 + 16, w + 28368, s + 96, s);
    k53(s + 4000 + 16, w + 28656, s + 96, s + 80);
    k54(s, s + 4000 + 40);
    k75(s + 1600, s + 4000);
    k56(s + 4000, w + 16416, s + 768 + 256, s + 4224);
    k57(s + 4224, s + 4544);
    k58(s + 4544, w + 18272, w + 3504, s + 4000);
    k57(s + 4000, s + 4320);
    k59(s + 4320, w + 22368, w + 3568, s + 96);
    k60(s + 96, ((float *)p[5]) + 16, s + 128);
    k61(s + 16, s + 128, s + 288 + 16, s + 3520 + 160);
    k62(s + 3520 + 160, s + 1600 + 16);
    k63(s + 1600, w + 23392, ((float *)p[11]), s + 4000);
    k64(s + 4000, s + 5600 + 6400);
    k65(s + 1600, s + 2240, w + 3584, s + 4000);
    k66(s + 5600 + 6400, w + 25632, s + 96);
    k67(s + 96, w + 28192, s + 4000, s + 4640);
    k68(s + 4640, s + 96);
    k69(s + 96, s + 24800 + 480);
    k70(s + 24800 + 480, w + 9712, s + 4000);
    k71(s + 4000, s + 4640 + 12, s + 26240 + 2080);
    k72(s + 26240 + 2080, w + 10928, s + 1600);
    k73(s + 1600, w + 15776, s + 1920 + 120, s + 96);
    k52(s + 96, s + 4000 + 16);
    k74(s + 4000 + 16, w + 28368, s + 80, s);
    k53(s + 4000 + 16, w + 28656, s + 80, s + 96);
    k54(s, s + 4000 + 40);
    k75(s + 1600, s + 4000);
    k56(s + 4000, w + 16416, s + 768 + 320, s + 4224);
    k57(s + 4224, s + 4544);
    k58(s + 4544, w + 18272, w + 3504, s + 4000);
    k57(s + 4000, s + 4320);
    k59(s + 4320, w + 22368, w + 3568, s + 112);
    k60(s + 112, ((float *)p[5]) + 20, s + 144);
    k61(s + 16, s + 144, s + 288 + 20, s + 3520 + 200);
    k62(s + 3520 + 200, s + 1600 + 16);
    k63(s + 1600, w + 23392, ((float *)p[11]), s + 4000);
    k64(s + 4000, s + 5600 + 8000);
    k65(s + 1600, s + 2240, w + 3584, s + 4000);
    k66(s + 5600 + 8000, w + 25632, s + 112);
    k67(s + 112, w + 28192, s + 4000, s + 4640);
    k68(s + 4640, s + 112);
    k69(s + 112, s + 24800 + 600);
    k70(s + 24800 + 600, w + 9712, s + 4000);
    k71(s + 4000, s + 4640 + 12, s + 26240 + 2600);
    k72(s + 26240 + 2600, w + 10928, s + 1600);
    k73(s + 1600, w + 15776, s + 1920 + 144, s + 112);
    k52(s + 112, s + 4000 + 16);
    k74(s + 4000 + 16, w + 28368, s + 96, s);
    k53(s + 4000 + 16, w + 28656, s + 96, s + 80);
    k54(s, s + 4000 + 40);
    k75(s + 1600, s + 4000);
    k56(s + 4000, w + 16416, s + 768 + 384, s + 4224);
    k57(s + 4224, s + 4544);
    k58(s + 4544, w + 18272, w + 3504, s + 4000);
    k57(s + 4000, s + 4320);
    k59(s + 4320, w + 22368, w + 3568, s + 96);
    k60(s + 96, ((float *)p[5]) + 24, s + 128);
    k61(s + 16, s + 128, s + 288 + 24, s + 3520 + 240);
    k62(s + 3520 + 240, s + 1600 + 16);
    k63(s + 1600, w + 23392, ((float *)p[11]), s + 4000);
    k64(s + 4000, s + 5600 + 9600);
    k65(s + 1600, s + 2240, w + 3584, s + 4000);
    k66(s + 5600 + 9600, w + 25632, s + 96);
    k67(s + 96, w + 28192, s + 4000, s + 4640);
    k68(s + 4640, s + 96);
    k69(s + 96, s + 24800 + 720);
    k70(s + 24800 + 720, w + 9712, s + 4000);
    k71(s + 4000, s + 4640 + 12, s + 26240 + 3120);
    k72(s + 26240 + 3120, w + 10928, s + 1600);
    k73(s + 1600, w + 15776, s + 1920 + 168, s + 96);
    k52(s + 96, s + 4000 + 16);
    k74(s + 4000 + 16, w + 28368, s + 80, s);
    k53(s + 4000 + 16, w + 28656, s + 80, s + 96);
    k54(s, s + 4000 + 40);
    k75(s + 1600, s + 4000);
    k56(s + 4000, w + 16416, s + 768 + 448, s + 4224);
    k57(s + 4224, s + 4544);
    k58(s + 4544, w + 18272, w + 3504, s + 4000);
    k57(s + 4000, s + 4320);
    k59(s + 4320, w + 22368, w + 3568, s + 112);
    k60(s + 112, ((float *)p[5]) + 28, s + 144);
    k61(s + 16, s + 144, s + 288 + 28, s + 3520 + 280);
    k62(s + 3520 + 280, s + 1600 + 16);
    k63(s + 1600, w + 23392, ((float *)p[11]), s + 4000);
    k64(s + 4000, s + 5600 + 11200);
    k65(s + 1600, s + 2240, w + 3584, s + 4000);
    k66(s + 5600 + 11200, w + 25632, s + 112);
    k67(s + 112, w + 28192, s + 4000, s + 4640);
    k68(s + 4640, s + 112);
    k69(s + 112, s + 24800 + 840);
    k70(s + 24800 + 840, w + 9712, s + 4000);
    k71(s + 4000, s + 4640 + 12, s + 26240 + 3640);
    k72(s + 26240 + 3640, w + 10928, s + 1600);
    k73(s + 1600, w + 15776, s + 1920 + 192, s + 112);
    k52(s + 112, s + 4000 + 16);
    k74(s + 4000 + 16, w + 28368, s + 96, s);
    k53(s + 4000 + 16, w + 28656, s + 96, s + 80);
    k54(s, s + 4000 + 40);
    k75(s + 1600, s + 4000);
    k56(s + 4000, w + 16416, s + 768 + 512, s + 4224);
    k57(s + 4224, s + 4544);
    k58(s + 4544, w + 18272, w + 3504, s + 4000);
    k57(s + 4000, s + 4320);
    k59(s + 4320, w + 22368, w + 3568, s + 96);
    k60(s + 96, ((float *)p[5]) + 32, s + 128);
    k61(s + 16, s + 128, s + 288 + 32, s + 3520 + 320);
    k62(s + 3520 + 320, s + 1600 + 16);
    k63(s + 1600, w + 23392, ((float *)p[11]), s + 4000);
    k64(s + 4000, s + 5600 + 12800);
    k65(s + 1600, s + 2240, w + 3584, s + 4000);
    k66(s + 5600 + 12800, w + 25632, s + 96);
    k67(s + 96, w + 28192, s + 4000, s + 4640);
    k68(s + 4640, s + 96);
    k69(s + 96, s + 24800 + 960);
    k70(s + 24800 + 960, w + 9712, s + 4000);
    k71(s + 4000, s + 4640 + 12, s + 26240 + 4160);
    k72(s + 26240 + 4160, w + 10928, s + 1600);
    k73(s + 1600, w + 15776, s + 1920 + 216, s + 96);
    k52(s + 96, s + 4000 + 16);
    k74(s + 4000 + 16, w + 28368, s + 80, s);
    k53(s + 4000 + 16, w + 28656, s + 80, s + 96);
    k54(s, s + 4000 + 40);
    k75(s + 1600, s + 4000);
    k56(s + 4000, w + 16416, s + 768 + 576, s + 4224);
    k57(s + 4224, s + 4544);
    k58(s + 4544, w + 18272, w + 3504, s + 4000);
    k57(s + 4000, s + 4320);
    k59(s + 4320, w + 22368, w + 3568, s + 112);
    k60(s + 112, ((float *)p[5]) + 36, s + 144);
    k61(s + 16, s + 144, s + 288 + 36, s + 3520 + 360);
    k62(s + 3520 + 360, s + 1600 + 16);
    k63(s + 1600, w + 23392, ((float *)p[11]), s + 4000);
    k64(s + 4000, s + 5600 + 14400);
    k65(s + 1600, s + 2240, w + 3584, s + 4000);
    k66(s + 5600 + 14400, w + 25632, s + 112);
    k67(s + 112, w + 28192, s + 4000, s + 4640);
    k68(s + 4640, s + 112);
    k69(s + 112, s + 24800 + 1080);
    k70(s + 24800 + 1080, w + 9712, s + 4000);
    k71(s + 4000, s + 4640 + 12, s + 26240 + 4680);
    k72(s + 26240 + 4680, w + 10928, s + 1600);
    k73(s + 1600, w + 15776, s + 1920 + 240, s + 112);
    k52(s + 112, s + 4000 + 16);
    k74(s + 4000 + 16, w + 28368, s + 96, s);
    k53(s + 4000 + 16, w + 28656, s + 96, s + 80);
    k54(s, s + 4000 + 40);
    k75(s + 1600, s + 4000);
    k56(s + 4000, w + 16416, s + 768 + 640, s + 4224);
    k57(s + 4224, s + 4544);
    k58(s + 4544, w + 18272, w + 3504, s + 4000);
    k57(s + 4000, s + 4320);
    k59(s + 4320, w + 22368, w + 3568, s + 96);
    k60(s + 96, ((float *)p[5]) + 40, s + 128);
    k61(s + 16, s + 128, s + 288 + 40, s + 3520 + 400);
    k62(s + 3520 + 400, s + 1600 + 16);
    k63(s + 1600, w + 23392, ((float *)p[11]), s + 4000);
    k64(s + 4000, s + 5600 + 16000);
    k65(s + 1600, s + 2240, w + 3584, s + 4000);
    k66(s + 5600 + 16000, w + 25632, s + 96);
    k67(s + 96, w + 28192, s + 4000, s + 4640);
    k68(s + 4640, s + 96);
    k69(s + 96, s + 24800 + 1200);
    k70(s + 24800 + 1200, w + 9712, s + 4000);
    k71(s + 4000, s + 4640 + 12, s + 26240 + 5200);
    k72(s + 26240 + 5200, w + 10928, s + 1600);
    k73(s + 1600, w + 15776, s + 1920 + 264, s + 96);
    k52(s + 96, s + 1808 + 16);
    k74(s + 1808 + 16, w + 28368, s + 80, s);
    k54(s, s + 1808 + 40);
    k75(s + 1600, s + 1808);
    k56(s + 1808, w + 16416, s + 768 + 704, s + 4000);
    k57(s + 4000, s + 768);
    k58(s + 768, w + 18272, w + 3504, s + 1088);
    k57(s + 1088, s + 768);
    k59(s + 768, w + 22368, w + 3568, s + 80);
    k60(s + 80, ((float *)p[5]) + 44, s + 112);
    k61(s + 16, s + 112, s + 288 + 44, s + 3520 + 440);
    k62(s + 3520 + 440, s + 1600 + 16);
    k63(s + 1600, w + 23392, ((float *)p[11]), s);
    k64(s, s + 5600 + 17600);
    k65(s + 1600, s + 2240, w + 3584, s);
    k66(s + 5600 + 17600, w + 25632, s + 640);
    k67(s + 640, w + 28192, s, s + 704);
    k68(s + 704, s);
    k69(s, s + 24800 + 1320);
    k70(s + 24800 + 1320, w + 9712, s);
    k71(s, s + 704 + 12, s + 26240 + 5720);
    k76(s + 5600, ((float *)p[21]));
    k77(s + 24800, ((float *)p[22]));
    k78(s + 26240, ((float *)p[23]));
    k79(s + 3520, ((float *)p[7]));
}

API void tubepilot_refine(const float *w, float *s, void *const *p) {
    k80(((float *)p[14]), w + 10928, s);
    k81(s, w + 15776, s + 960);
    k82(s + 960, s + 2048);
    k83(s + 2048, w + 29440, s + 3136);
    k84(w + 29728, s + 3136, ((float *)p[5]), s + 2048);
    k85(s + 2048, w + 30128, ((float *)p[10]), s + 2240);
    k85(s + 3136, w + 30176, ((float *)p[9]), s + 2048);
    k86(s, w + 30224, ((float *)p[8]), s + 3328);
    k87(w + 30320, s + 3136, ((float *)p[6]), s + 2432);
    k88(s + 2432, s + 2448 + 19);
    k89(s + 880, s + 2448);
    k90(s + 3136 + 165, s + 2448 + 16);
    k91(s + 2448, w + 30384, ((float *)p[7]), s);
    k57(s, s + 320);
    k58(s + 320, w + 31280, w + 29040, s);
    k92(s, s + 640);
    k58(s + 640, w + 35376, w + 29104, s);
    k93(s, s + 320, s + 640);
    k94(s + 640, w + 39472, s);
    k95(s + 2432, s + 2448 + 19, s, s + 16);
    k94(s + 640, w + 40496, s);
    k96(w + 41520, s + 2240, s + 2048, s + 32);
    k97(w + 41920, s + 16, s + 32, s + 224);
    k98(w + 176, s, s + 224, s + 16);
    k99(((float *)p[12]), w + 41984, w + 29168, s + 4288);
    k100(s + 4288, w + 47104, s + 5728);
    k101(s + 16, w + 49984, s + 2048);
    k102(s + 2048, s + 960, s + 4288);
    k103(s + 4288, w + 50048, s + 3328, s + 960);
    k104(((float *)p[0]), w + 50336, s);
    k105(w + 50400, s, ((float *)p[11]), s + 240);
    k106(((float *)p[0]), w + 50576, s + 240, s);
    k107(((float *)p[12]), s + 15328);
    k108(((float *)p[14]), w + 50640, s + 24928);
    k109(((float *)p[13]), w + 51648, s + 29248);
    k110(s + 24928, s + 29248, s + 33568);
    k111(s + 33568, w + 52608, s + 24928 + 52);
    k112(((float *)p[13]), w + 9712, s + 24928);
    k113(s + 640, w + 53760, s + 960 + 880, s + 240);
    k114(s + 240, w + 54784, s + 320);
    k115(s + 320, s + 24928 + 4840, s + 30208 + 4840);
    k116(s + 30208 + 4840, w + 55472, s + 240);
    k117(s + 240, w + 56240, s + 5728 + 8800, s + 1920);
    k118(s + 1920, s + 15328 + 8800, s + 35488 + 8800);
    k119(s + 30208 + 4840, ((float *)p[3]), s + 960 + 800, s + 240);
    k120(s + 35488 + 8800, w + 57200, s + 240, s + 320);
    k114(s + 320, w + 54784, s + 400);
    k115(s + 400, s + 24928 + 4400, s + 30208 + 4400);
    k116(s + 30208 + 4400, w + 55472, s + 240);
    k117(s + 240, w + 56240, s + 5728 + 8000, s + 1920);
    k118(s + 1920, s + 15328 + 8000, s + 35488 + 8000);
    k119(s + 30208 + 4400, ((float *)p[3]), s + 960 + 720, s + 240);
    k120(s + 35488 + 8000, w + 57200, s + 240, s + 320);
    k114(s + 320, w + 54784, s + 400);
    k115(s + 400, s + 24928 + 3960, s + 30208 + 3960);
    k116(s + 30208 + 3960, w + 55472, s + 240);
    k117(s + 240, w + 56240, s + 5728 + 7200, s + 1920);
    k118(s + 1920, s + 15328 + 7200, s + 35488 + 7200);
    k119(s + 30208 + 3960, ((float *)p[3]), s + 960 + 640, s + 240);
    k120(s + 35488 + 7200, w + 57200, s + 240, s + 320);
    k114(s + 320, w + 54784, s + 400);
    k115(s + 400, s + 24928 + 3520, s + 30208 + 3520);
    k116(s + 30208 + 3520, w + 55472, s + 240);
    k117(s + 240, w + 56240, s + 5728 + 6400, s + 1920);
    k118(s + 1920, s + 15328 + 6400, s + 35488 + 6400);
    k119(s + 30208 + 3520, ((float *)p[3]), s + 960 + 560, s + 240);
    k120(s + 35488 + 6400, w + 57200, s + 240, s + 320);
    k114(s + 320, w + 54784, s + 400);
    k115(s + 400, s + 24928 + 3080, s + 30208 + 3080);
    k116(s + 30208 + 3080, w + 55472, s + 240);
    k117(s + 240, w + 56240, s + 5728 + 5600, s + 1920);
    k118(s + 1920, s + 15328 + 5600, s + 35488 + 5600);
    k119(s + 30208 + 3080, ((float *)p[3]), s + 960 + 480, s + 240);
    k120(s + 35488 + 5600, w + 57200, s + 240, s + 320);
    k114(s + 320, w + 54784, s + 400);
    k115(s + 400, s + 24928 + 2640, s + 30208 + 2640);
    k116(s + 30208 + 2640, w + 55472, s + 240);
    k117(s + 240, w + 56240, s + 5728 + 4800, s + 1920);
    k118(s + 1920, s + 15328 + 4800, s + 35488 + 4800);
    k119(s + 30208 + 2640, ((float *)p[3]), s + 960 + 400, s + 240);
    k120(s + 35488 + 4800, w + 57200, s + 240, s + 320);
    k114(s + 320, w + 54784, s + 400);
    k115(s + 400, s + 24928 + 2200, s + 30208 + 2200);
    k116(s + 30208 + 2200, w + 55472, s + 240);
    k117(s + 240, w + 56240, s + 5728 + 4000, s + 1920);
    k118(s + 1920, s + 15328 + 4000, s + 35488 + 4000);
    k119(s + 30208 + 2200, ((float *)p[3]), s + 960 + 320, s + 240);
    k120(s + 35488 + 4000, w + 57200, s + 240, s + 320);
    k114(s + 320, w + 54784, s + 400);
    k115(s + 400, s + 24928 + 1760, s + 30208 + 1760);
    k116(s + 30208 + 1760, w + 55472, s + 240);
    k117(s + 240, w + 56240, s + 5728 + 3200, s + 1920);
    k118(s + 1920, s + 15328 + 3200, s + 35488 + 3200);
    k119(s + 30208 + 1760, ((float *)p[3]), s + 960 + 240, s + 240);
    k120(s + 35488 + 3200, w + 57200, s + 240, s + 320);
    k114(s + 320, w + 54784, s + 400);
    k115(s + 400, s + 24928 + 1320, s + 30208 + 1320);
    k116(s + 30208 + 1320, w + 55472, s + 240);
    k117(s + 240, w + 56240, s + 5728 + 2400, s + 1920);
    k118(s + 1920, s + 15328 + 2400, s + 35488 + 2400);
    k119(s + 30208 + 1320, ((float *)p[3]), s + 960 + 160, s + 240);
    k120(s + 35488 + 2400, w + 57200, s + 240, s + 320);
    k114(s + 320, w + 54784, s + 400);
    k115(s + 400, s + 24928 + 880, s + 30208 + 880);
    k116(s + 30208 + 880, w + 55472, s + 240);
    k117(s + 240, w + 56240, s + 5728 + 1600, s + 1920);
    k118(s + 1920, s + 15328 + 1600, s + 35488 + 1600);
    k119(s + 30208 + 880, ((float *)p[3]), s + 960 + 80, s + 240);
    k120(s + 35488 + 1600, w + 57200, s + 240, s + 320);
    k114(s + 320, w + 54784, s + 400);
    k115(s + 400, s + 24928 + 440, s + 30208 + 440);
    k116(s + 30208 + 440, w + 55472, s + 240);
    k117(s + 240, w + 56240, s + 5728 + 800, s + 1920);
    k118(s + 1920, s + 15328 + 800, s + 35488 + 800);
    k119(s + 30208 + 440, ((float *)p[3]), s + 960, s + 240);
    k120(s + 35488 + 800, w + 57200, s + 240, s + 320);
    k114(s + 320, w + 54784, s + 400);
    k115(s + 400, s + 24928, s + 30208);
    k116(s + 30208, w + 55472, s + 240);
    k117(s + 240, w + 56240, s + 5728, s + 272);
    k118(s + 272, s + 15328, s + 35488);
    k121(s + 30208, w + 59760, s, s + 240);
    k122(s + 35488, w + 60464, s + 240, s);
    k123(s, w + 29200, s + 240);
    k124(s + 240, s);
    k104(s, w + 63024, s + 480);
    k125(w + 63088, s + 480, w + 14208, s);
    k126(((float *)p[0]), s + 240, s, ((float *)p[15]));
    k127(((float *)p[15]), w + 63808, ((float *)p[4]), s);
    k128(((float *)p[15]), w + 64448, w + 3584, s + 9600);
    k129(((float *)p[1]), w + 64592, s, s + 13440);
    k130(s + 13440, ((float *)p[16]));
    k131(((float *)p[1]), ((float *)p[2]), s + 9600, s + 13440);
    k132(((float *)p[16]), w + 25632, s + 13760);
    k133(s + 13760, w + 28192, s + 13440, s + 13792);
    k134(s + 13792, s + 13440);
    k135(s + 13440, ((float *)p[17]));
    k136(((float *)p[17]), w + 9712, s + 13440);
    k137(s + 13440, s + 13792 + 12, ((float *)p[18]));
    k138(((float *)p[18]), w + 10928, s + 13440);
    k129(s + 13440, w + 64592, s + 800, s + 13520);
    k130(s + 13520, ((float *)p[16]) + 800);
    k131(s + 13440, ((float *)p[2]), s + 9600 + 320, s + 13520);
    k132(((float *)p[16]) + 800, w + 25632, s + 13440);
    k133(s + 13440, w + 28192, s + 13520, s + 13840);
    k134(s + 13840, s + 13440);
    k135(s + 13440, ((float *)p[17]) + 60);
    k136(((float *)p[17]) + 60, w + 9712, s + 13440);
    k137(s + 13440, s + 13840 + 12, ((float *)p[18]) + 260);
    k138(((float *)p[18]) + 260, w + 10928, s + 13440);
    k129(s + 13440, w + 64592, s + 1600, s + 13520);
    k130(s + 13520, ((float *)p[16]) + 1600);
    k131(s + 13440, ((float *)p[2]), s + 9600 + 640, s + 13520);
    k132(((float *)p[16]) + 1600, w + 25632, s + 13440);
    k133(s + 13440, w + 28192, s + 13520, s + 13840);
    k134(s + 13840, s + 13440);
    k135(s + 13440, ((float *)p[17]) + 120);
    k136(((float *)p[17]) + 120, w + 9712, s + 13440);
    k137(s + 13440, s + 13840 + 12, ((float *)p[18]) + 520);
    k138(((float *)p[18]) + 520, w + 10928, s + 13440);
    k129(s + 13440, w + 64592, s + 2400, s + 13520);
    k130(s + 13520, ((float *)p[16]) + 2400);
    k131(s + 13440, ((float *)p[2]), s + 9600 + 960, s + 13520);
    k132(((float *)p[16]) + 2400, w + 25632, s + 13440);
    k133(s + 13440, w + 28192, s + 13520, s + 13840);
    k134(s + 13840, s + 13440);
    k135(s + 13440, ((float *)p[17]) + 180);
    k136(((float *)p[17]) + 180, w + 9712, s + 13440);
    k137(s + 13440, s + 13840 + 12, ((float *)p[18]) + 780);
    k138(((float *)p[18]) + 780, w + 10928, s + 13440);
    k129(s + 13440, w + 64592, s + 3200, s + 13520);
    k130(s + 13520, ((float *)p[16]) + 3200);
    k131(s + 13440, ((float *)p[2]), s + 9600 + 1280, s + 13520);
    k132(((float *)p[16]) + 3200, w + 25632, s + 13440);
    k133(s + 13440, w + 28192, s + 13520, s + 13840);
    k134(s + 13840, s + 13440);
    k135(s + 13440, ((float *)p[17]) + 240);
    k136(((float *)p[17]) + 240, w + 9712, s + 13440);
    k137(s + 13440, s + 13840 + 12, ((float *)p[18]) + 1040);
    k138(((float *)p[18]) + 1040, w + 10928, s + 13440);
    k129(s + 13440, w + 64592, s + 4000, s + 13520);
    k130(s + 13520, ((float *)p[16]) + 4000);
    k131(s + 13440, ((float *)p[2]), s + 9600 + 1600, s + 13520);
    k132(((float *)p[16]) + 4000, w + 25632, s + 13440);
    k133(s + 13440, w + 28192, s + 13520, s + 13840);
    k134(s + 13840, s + 13440);
    k135(s + 13440, ((float *)p[17]) + 300);
    k136(((float *)p[17]) + 300, w + 9712, s + 13440);
    k137(s + 13440, s + 13840 + 12, ((float *)p[18]) + 1300);
    k138(((float *)p[18]) + 1300, w + 10928, s + 13440);
    k129(s + 13440, w + 64592, s + 4800, s + 13520);
    k130(s + 13520, ((float *)p[16]) + 4800);
    k131(s + 13440, ((float *)p[2]), s + 9600 + 1920, s + 13520);
    k132(((float *)p[16]) + 4800, w + 25632, s + 13440);
    k133(s + 13440, w + 28192, s + 13520, s + 13840);
    k134(s + 13840, s + 13440);
    k135(s + 13440, ((float *)p[17]) + 360);
    k136(((float *)p[17]) + 360, w + 9712, s + 13440);
    k137(s + 13440, s + 13840 + 12, ((float *)p[18]) + 1560);
    k138(((float *)p[18]) + 1560, w + 10928, s + 13440);
    k129(s + 13440, w + 64592, s + 5600, s + 13520);
    k130(s + 13520, ((float *)p[16]) + 5600);
    k131(s + 13440, ((float *)p[2]), s + 9600 + 2240, s + 13520);
    k132(((float *)p[16]) + 5600, w + 25632, s + 13440);
    k133(s + 13440, w + 28192, s + 13520, s + 13840);
    k134(s + 13840, s + 13440);
    k135(s + 13440, ((float *)p[17]) + 420);
    k136(((float *)p[17]) + 420, w + 9712, s + 13440);
    k137(s + 13440, s + 13840 + 12, ((float *)p[18]) + 1820);
    k138(((float *)p[18]) + 1820, w + 10928, s + 13440);
    k129(s + 13440, w + 64592, s + 6400, s + 13520);
    k130(s + 13520, ((float *)p[16]) + 6400);
    k131(s + 13440, ((float *)p[2]), s + 9600 + 2560, s + 13520);
    k132(((float *)p[16]) + 6400, w + 25632, s + 13440);
    k133(s + 13440, w + 28192, s + 13520, s + 13840);
    k134(s + 13840, s + 13440);
    k135(s + 13440, ((float *)p[17]) + 480);
    k136(((float *)p[17]) + 480, w + 9712, s + 13440);
    k137(s + 13440, s + 13840 + 12, ((float *)p[18]) + 2080);
    k138(((float *)p[18]) + 2080, w + 10928, s + 13440);
    k129(s + 13440, w + 64592, s + 7200, s + 13520);
    k130(s + 13520, ((float *)p[16]) + 7200);
    k131(s + 13440, ((float *)p[2]), s + 9600 + 2880, s + 13520);
    k132(((float *)p[16]) + 7200, w + 25632, s + 13440);
    k133(s + 13440, w + 28192, s + 13520, s + 13840);
    k134(s + 13840, s + 13440);
    k135(s + 13440, ((float *)p[17]) + 540);
    k136(((float *)p[17]) + 540, w + 9712, s + 13440);
    k137(s + 13440, s + 13840 + 12, ((float *)p[18]) + 2340);
    k138(((float *)p[18]) + 2340, w + 10928, s + 13440);
    k129(s + 13440, w + 64592, s + 8000, s + 13520);
    k130(s + 13520, ((float *)p[16]) + 8000);
    k131(s + 13440, ((float *)p[2]), s + 9600 + 3200, s + 13520);
    k132(((float *)p[16]) + 8000, w + 25632, s + 13440);
    k133(s + 13440, w + 28192, s + 13520, s + 13840);
    k134(s + 13840, s + 13440);
    k135(s + 13440, ((float *)p[17]) + 600);
    k136(((float *)p[17]) + 600, w + 9712, s + 13440);
    k137(s + 13440, s + 13840 + 12, ((float *)p[18]) + 2600);
    k138(((float *)p[18]) + 2600, w + 10928, s + 13440);
    k129(s + 13440, w + 64592, s + 8800, s + 13520);
    k130(s + 13520, ((float *)p[16]) + 8800);
    k131(s + 13440, ((float *)p[2]), s + 9600 + 3520, s);
    k132(((float *)p[16]) + 8800, w + 25632, s + 320);
    k133(s + 320, w + 28192, s, s + 352);
    k134(s + 352, s);
    k135(s, ((float *)p[17]) + 660);
    k136(((float *)p[17]) + 660, w + 9712, s);
    k137(s, s + 352 + 12, ((float *)p[18]) + 2860);
}

API void tubepilot_rank(const float *w, float *s, void *const *p) {
    k139(((float *)p[0]), s);
    k80(((float *)p[7]), w + 10928, s + 240);
    k81(s + 240, w + 15776, s + 1200);
    k82(s + 1200, s + 2288);
    k83(s + 2288, w + 29440, s + 1200);
    k84(w + 29728, s + 1200, ((float *)p[1]), s + 1392);
    k140(s + 240, w + 66208, ((float *)p[2]), s + 1584);
    k141(s + 1200, w + 66304, s + 1584, s + 2304);
    k141(s + 1392, w + 66352, s + 2304, s + 1584);
    k142(s + 1584, s + 2304);
    k143(s + 2304, w + 66400, s + 1392);
    k99(((float *)p[6]), w + 41984, w + 29168, s + 1456);
    k144(s + 1456, s + 2896);
    k145(s + 2896, w + 66592, s + 1456);
    k146(w + 66976, s + 1456, s + 1520);
    k147(s + 2896, w + 66992, s + 1392, s + 1456);
    k148(s, w + 67376, ((float *)p[3]), s + 1536);
    k149(s + 1536, s + 2016);
    k150(s + 2016, w + 69040, s + 1392);
    k87(w + 30320, s + 1200, ((float *)p[4]), s + 1408);
    k88(s + 1408, s + 1536 + 19);
    k89(s + 240 + 880, s + 1536);
    k90(s + 1200 + 165, s + 1536 + 16);
    k91(s + 1536, w + 30384, ((float *)p[5]), s + 240);
    k57(s + 240, s + 560);
    k58(s + 560, w + 31280, w + 29040, s + 240);
    k57(s + 240, s + 560);
    k151(s + 560, w + 70576, w + 66192, s + 240);
    k152(s + 1392, s + 240, s + 256);
    k153(w + 3920, s + 1456, s + 256, ((float *)p[8]));
    k154(((float *)p[8]), ((int64_t *)p[9]));
    k155(s, ((int64_t *)p[9]), s + 240);
    k156(s + 240, ((float *)p[10]));
    k157(s + 1520, ((int64_t *)p[9]), ((float *)p[11]));
}
