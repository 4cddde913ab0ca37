// The pass in one read of X: forward, stable cost, derivative and backward, for rows with adjacent elements.
//
// A *group* of threads takes a row: some lanes of a warp for short rows, a block for long ones. Thread t of the group has
// the columns (j * GROUP + t) * V + i, with V adjacent elements in each of its LOADS loads, and keeps for them the weights
// and its part of the gradient in registers, from its first row to its last. So a row is read from memory once, stays in
// registers as it is stored (packed) between the forward and the backward step, and is converted where it is multiplied.
// ROWS rows are loaded together, and with STAGES = 2 the next ones while these are worked on: what is in flight hides the
// memory's latency.
//
// The pointwise maths of row r is done by lane r, not by all lanes of the group for all rows: at 32 columns a row it would
// take longer than the memory. Every sum has a fixed order, so the same launch gives the same bits; nothing is atomic.
//
// One source for the GPU (NVRTC, which needs no header for it) and for the tests, which run it on the CPU.
// `gpulr/passes/fused_plan.py` chooses the template's arguments.

#ifndef CUDA_SHIM
__device__ inline float half_to_float(unsigned bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"((unsigned short)bits));
    return value;
}
#endif

typedef long long Index;  // of rows, and of elements: there may be more than 2^31

struct Half { unsigned short bits; };
struct BFloat16 { unsigned short bits; };

__device__ constexpr int max_of(int a, int b) { return a > b ? a : b; }

// --- one load -----------------------------------------------------------------------------------------------------------

template <int BYTES> struct Word;
template <> struct Word<1> { typedef unsigned char type; };
template <> struct Word<2> { typedef unsigned short type; };
template <> struct Word<4> { typedef unsigned type; };
template <> struct Word<8> { typedef uint2 type; };
template <> struct Word<16> { typedef uint4 type; };

// What one load brings, packed as it is stored.
template <int BYTES> struct Packed {
    unsigned word[max_of(1, BYTES / 4)];

    __device__ void load(const void* from) {
        const typename Word<BYTES>::type value = __ldg(static_cast<const typename Word<BYTES>::type*>(from));
        unpack(value);
    }
    __device__ void clear() {
#pragma unroll
        for (int i = 0; i < max_of(1, BYTES / 4); ++i) word[i] = 0;
    }
    // From here on the compiler cannot know what it made of these numbers before, and converts them again. It keeps them
    // converted where there is room, which saves instructions; for Blackwell it does so where there is none.
    __device__ void convert_again() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
#pragma unroll
        for (int i = 0; i < max_of(1, BYTES / 4); ++i) asm volatile("" : "+r"(word[i]));
#endif
    }

  private:
    __device__ void unpack(unsigned value) { word[0] = value; }
    __device__ void unpack(uint2 value) { word[0] = value.x, word[1] = value.y; }
    __device__ void unpack(uint4 value) { word[0] = value.x, word[1] = value.y, word[2] = value.z, word[3] = value.w; }
};

// Element i of a load, exactly. Bytes become the last digits of 2^23, which is a permutation and a subtraction; the
// conversion instruction runs at a fraction of that speed.
template <class Stored> struct Element;
template <> struct Element<unsigned char> {
    __device__ static float of(const unsigned* word, int i) {
        return __uint_as_float(__byte_perm(word[i / 4], 0x4B000000u, 0x7440u | (i % 4))) - 8388608.0f;
    }
};
template <> struct Element<signed char> {
    __device__ static float of(const unsigned* word, int i) {
        return __uint_as_float(__byte_perm(word[i / 4] ^ 0x80808080u, 0x4B000000u, 0x7440u | (i % 4))) - 8388736.0f;
    }
};
template <> struct Element<Half> {
    __device__ static float of(const unsigned* word, int i) { return half_to_float((word[i / 2] >> (i % 2 * 16)) & 0xFFFFu); }
};
template <> struct Element<BFloat16> {
    __device__ static float of(const unsigned* word, int i) {
        return __uint_as_float(i % 2 ? word[i / 2] & 0xFFFF0000u : word[i / 2] << 16);
    }
};
template <> struct Element<float> {
    __device__ static float of(const unsigned* word, int i) { return __uint_as_float(word[i]); }
};
template <> struct Element<double> {
    __device__ static double of(const unsigned* word, int i) {
        return __hiloint2double((int)word[2 * i + 1], (int)word[2 * i]);
    }
};

// --- pointwise maths: see gpulr/links.py for the formulas ---------------------------------------------------------------

__device__ inline float exponential(float x) { return expf(x); }
__device__ inline double exponential(double x) { return exp(x); }
__device__ inline float exponential_less_1(float x) { return expm1f(x); }
__device__ inline double exponential_less_1(double x) { return expm1(x); }
__device__ inline float logarithm_1_plus(float x) { return log1pf(x); }
__device__ inline double logarithm_1_plus(double x) { return log1p(x); }
__device__ inline float magnitude(float x) { return fabsf(x); }
__device__ inline double magnitude(double x) { return fabs(x); }
// A product that is rounded before it is added to anything.
__device__ inline float rounded_product(float a, float b) { return __fmul_rn(a, b); }
__device__ inline double rounded_product(double a, double b) { return __dmul_rn(a, b); }

// A pointwise function has, of a row with margins z: KNOWN numbers to be read for it, the derivative `dz` of its term with
// respect to the margins, and the term itself, which is its result.

// The cross-entropy; known is the label.
template <class R, int K> struct CrossEntropy {
    typedef R Real;
    static constexpr int OUTPUTS = K, KNOWN = 1;
    static constexpr bool BACKWARD = true;

    __device__ static R term(const R (&z)[K], const R* known, R (&dz)[K]) {
        const R y = known[0];
        if constexpr (K == 1) {
            const R sign = 1 - 2 * y, u = sign * z[0], e = exponential(-magnitude(u));
            dz[0] = sign * (u >= 0 ? R(1) : e) / (1 + e);
            return (u > 0 ? u : R(0)) + logarithm_1_plus(e);
        } else {
            R own = 0, most = 0, rest = 0;
#pragma unroll
            for (int k = 0; k < K; ++k) own = y == R(k) ? z[k] : own;
#pragma unroll
            for (int k = 0; k < K; ++k) most = z[k] - own > most ? z[k] - own : most;
#pragma unroll
            for (int k = 0; k < K; ++k) {
                dz[k] = y == R(k) ? R(0) : exponential(z[k] - own - most);
                rest += dz[k];
            }
            const R total = rest + exponential(-most);
#pragma unroll
            for (int k = 0; k < K; ++k) dz[k] = (y == R(k) ? -rest : dz[k]) / total;
            return most + logarithm_1_plus(rest + exponential_less_1(-most));
        }
    }
};

// The second derivative along t: known are the margins, and z is what they become by, t = X d. The term is its square form.
template <class R, int K> struct Curvature {
    typedef R Real;
    static constexpr int OUTPUTS = K, KNOWN = K;
    static constexpr bool BACKWARD = true;

    __device__ static R term(const R (&t)[K], const R* known, R (&dz)[K]) {
        if constexpr (K == 1) {
            const R e = exponential(-magnitude(known[0]));
            dz[0] = e / ((1 + e) * (1 + e)) * t[0];
            return dz[0] * t[0];
        } else {
            R most = known[0], total = 0, mean = 0, square = 0;
#pragma unroll
            for (int k = 1; k < K; ++k) most = known[k] > most ? known[k] : most;
#pragma unroll
            for (int k = 0; k < K; ++k) {
                dz[k] = exponential(known[k] - most);
                total += dz[k];
                mean += dz[k] * t[k];
            }
            mean /= total;
#pragma unroll
            for (int k = 0; k < K; ++k) {
                dz[k] = dz[k] / total * (t[k] - mean);
                square += dz[k] * (t[k] - mean);
            }
            return square;
        }
    }
};

// Nothing but the margins, z = X d.
template <class R, int K> struct Product {
    typedef R Real;
    static constexpr int OUTPUTS = K, KNOWN = 0;
    static constexpr bool BACKWARD = false;
};

// --- sums over threads ----------------------------------------------------------------------------------------------------

constexpr unsigned ALL_LANES = 0xFFFFFFFFu;

// The sum over LANES adjacent lanes, the same bits in each of them.
template <int LANES, class Real> __device__ inline Real sum_over_lanes(Real value) {
#pragma unroll
    for (int offset = LANES / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(ALL_LANES, value, offset);
    return value;
}

// The sums over the block of COUNT numbers, by warps in their order, written by thread 0 (+= unless `first`).
template <int THREADS, int COUNT>
__device__ inline void write_sums_of_block(double (&value)[COUNT], double* out, bool first) {
    __shared__ double of_warp[THREADS / 32][COUNT];
#pragma unroll
    for (int i = 0; i < COUNT; ++i) value[i] = sum_over_lanes<32>(value[i]);
    __syncthreads();
    if (threadIdx.x % 32 == 0) {
#pragma unroll
        for (int i = 0; i < COUNT; ++i) of_warp[threadIdx.x / 32][i] = value[i];
    }
    __syncthreads();
    if (threadIdx.x == 0) {
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            double total = of_warp[0][i];
#pragma unroll 1
            for (int warp = 1; warp < THREADS / 32; ++warp) total += of_warp[warp][i];
            out[i] = first ? total : out[i] + total;
        }
    }
}

// --- one read ---------------------------------------------------------------------------------------------------------------

// Sums over the rows of X, (rows, n) with `stride` elements from row to row:
//     z[row] = X[row] w + b,  partial[block] = sum of dz[row] X[row] (n, OUTPUTS),  scalars[block] = (sum of terms, of dz).
// known is (rows, KNOWN), s (rows,) or null for ones, w (n, OUTPUTS), b (OUTPUTS,) or null for zeros.
// With gridDim.y > 1, for Product alone, blockIdx.y is a slice of `n` columns out of `columns`, and z has a part for each.
template <class Pointwise, class Stored, int BYTES, int LOADS, int GROUP, int THREADS, int ROWS, int STAGES, bool SHARED,
          int BLOCKS>
__global__ void __launch_bounds__(THREADS, BLOCKS)
    one_read(const Stored* __restrict__ X, Index stride, Index rows, int n, int columns,
             const typename Pointwise::Real* __restrict__ w, const typename Pointwise::Real* __restrict__ b,
             const typename Pointwise::Real* __restrict__ known, const typename Pointwise::Real* __restrict__ s,
             typename Pointwise::Real* __restrict__ z, typename Pointwise::Real* __restrict__ partial,
             double* __restrict__ scalars) {
    typedef typename Pointwise::Real Real;
    constexpr int K = Pointwise::OUTPUTS, KNOWN = Pointwise::KNOWN;
    constexpr bool BACKWARD = Pointwise::BACKWARD;
    constexpr int V = BYTES / sizeof(Stored), GROUPS = THREADS / GROUP;
    constexpr int LANES = GROUP < 32 ? GROUP : 32, WARPS = GROUP / LANES;
    constexpr int OWN = max_of(1, ROWS / LANES);  // rows whose pointwise maths is a lane's own
    static_assert(WARPS == 1 || (GROUP == THREADS && ROWS <= 32), "a group of several warps is the block");

    struct Stage {
        Packed<BYTES> x[ROWS][LOADS];
        Real known[OWN][max_of(1, KNOWN)], s[OWN];
    };

    // Of one block, the weights; of the groups of one block, the sums. Never both.
    extern __shared__ double dynamic[];
    Real* const shared = reinterpret_cast<Real*>(dynamic);
    __shared__ Real of_warp[2][WARPS > 1 ? WARPS : 1][WARPS > 1 ? ROWS * K : 1];
    // Sums that a few threads of a long group have: in registers they would cost all of its threads their place.
    __shared__ double of_lane[WARPS > 1 ? ROWS : 1][1 + K];

    const int thread = threadIdx.x % GROUP, group = threadIdx.x / GROUP, lane = thread % LANES, warp = thread / LANES;
    const Index offset = (Index)blockIdx.y * n;
    X += offset, w += offset * K, z += (Index)blockIdx.y * rows * K;
    n = columns - offset < n ? (int)(columns - offset) : n;

    const auto column = [&](int j) { return (j * GROUP + thread) * V; };
    // There are no more loads than the row needs, so that only the last one may be beyond its end; but a slice may be shorter.
    const auto within = [&](int j) { return (BACKWARD && j + 1 < LOADS) || column(j) < n; };
    // Row r of this group in a tile: the groups of a block have adjacent rows, which short rows need to be read whole lines.
    const auto row_of = [&](Index tile, int r) { return (tile * ROWS + r) * GROUPS + group; };

    Real weight[SHARED ? 1 : LOADS][SHARED ? 1 : V][SHARED ? 1 : K];
    Real gradient[BACKWARD ? LOADS : 1][BACKWARD ? V : 1][BACKWARD ? K : 1];
#pragma unroll
    for (int j = 0; j < LOADS; ++j) {
#pragma unroll
        for (int i = 0; i < V; ++i) {
#pragma unroll
            for (int k = 0; k < K; ++k) {
                const Real value = within(j) ? w[(Index)(column(j) + i) * K + k] : Real(0);
                if constexpr (SHARED) shared[((j * V + i) * K + k) * GROUP + thread] = value;
                else weight[j][i][k] = value;
                if constexpr (BACKWARD) gradient[j][i][k] = 0;
            }
        }
    }
    // Each thread reads from `shared` only what it wrote: no barrier.

    Real intercept[K];
#pragma unroll
    for (int k = 0; k < K; ++k) intercept[k] = b == nullptr ? Real(0) : b[k];
    double sums[1 + K] = {};
    if (WARPS > 1 && threadIdx.x < ROWS) {
#pragma unroll
        for (int i = 0; i <= K; ++i) of_lane[lane][i] = 0;
    }

    const auto load = [&](Stage& stage, Index tile) {
#pragma unroll
        for (int r = 0; r < ROWS; ++r) {
            const Index row = row_of(tile, r);
            const Stored* const from = X + row * stride;
#pragma unroll
            for (int j = 0; j < LOADS; ++j) {
                // n is a multiple of V: a load is within the row or beyond it.
                if (row < rows && within(j)) stage.x[r][j].load(from + column(j));
                else stage.x[r][j].clear();
            }
        }
        if constexpr (BACKWARD) {
#pragma unroll
            for (int q = 0; q < OWN; ++q) {
                const Index row = row_of(tile, q * LANES + lane % ROWS);
#pragma unroll
                for (int k = 0; k < KNOWN; ++k) stage.known[q][k] = row < rows ? known[row * KNOWN + k] : Real(0);
                stage.s[q] = row < rows && s != nullptr ? s[row] : Real(1);
            }
        }
    };

    int parity = 0;
    const auto process = [&](Stage& stage, Index tile) {
        Real own[OWN][K] = {};
#pragma unroll
        for (int r = 0; r < ROWS; ++r) {
            Real dot[K] = {};
#pragma unroll
            for (int j = 0; j < LOADS; ++j) {
#pragma unroll
                for (int i = 0; i < V; ++i) {
                    const Real x = Real(Element<Stored>::of(stage.x[r][j].word, i));
#pragma unroll
                    for (int k = 0; k < K; ++k) {
                        if constexpr (SHARED) dot[k] += x * shared[((j * V + i) * K + k) * GROUP + thread];
                        else dot[k] += x * weight[j][i][k];
                    }
                }
            }
#pragma unroll
            for (int k = 0; k < K; ++k) {
                const Real total = sum_over_lanes<LANES>(dot[k]);
                own[r / LANES][k] = lane % ROWS == r % LANES ? total : own[r / LANES][k];
            }
        }
        if constexpr (WARPS > 1) {
            // Two places in turn, so that one barrier is enough: a warp comes to write here again only after the next one.
            if (lane < ROWS) {
#pragma unroll
                for (int k = 0; k < K; ++k) of_warp[parity][warp][lane * K + k] = own[0][k];
            }
            __syncthreads();
#pragma unroll
            for (int k = 0; k < K; ++k) {
                own[0][k] = of_warp[parity][0][lane % ROWS * K + k];
#pragma unroll
                for (int i = 1; i < WARPS; ++i) own[0][k] += of_warp[parity][i][lane % ROWS * K + k];
            }
            parity ^= 1;
        }
        Real dz[OWN][K];
#pragma unroll
        for (int q = 0; q < OWN; ++q) {
            const Index row = row_of(tile, q * LANES + lane % ROWS);
            const bool mine = row < rows && lane < ROWS && warp == 0;
#pragma unroll
            for (int k = 0; k < K; ++k) own[q][k] += intercept[k];
            if (mine) {
#pragma unroll
                for (int k = 0; k < K; ++k) z[row * K + k] = own[q][k];
            }
            if constexpr (BACKWARD) {
                const Real term = Pointwise::term(own[q], stage.known[q], dz[q]) * stage.s[q];
#pragma unroll
                for (int k = 0; k < K; ++k) dz[q][k] = row < rows ? dz[q][k] * stage.s[q] : Real(0);
                if (mine) {
                    double* const total = WARPS > 1 ? of_lane[lane % ROWS] : sums;
                    total[0] += term;
#pragma unroll
                    for (int k = 0; k < K; ++k) total[1 + k] += dz[q][k];
                }
            }
        }
        if constexpr (BACKWARD) {
#pragma unroll
            for (int r = 0; r < ROWS; ++r) {
                Real factor[K];
#pragma unroll
                for (int k = 0; k < K; ++k) factor[k] = __shfl_sync(ALL_LANES, dz[r / LANES][k], r % LANES, LANES);
                if constexpr (sizeof(Stored) == 1) {
#pragma unroll
                    for (int j = 0; j < LOADS; ++j) stage.x[r][j].convert_again();
                }
#pragma unroll
                for (int j = 0; j < LOADS; ++j) {
#pragma unroll
                    for (int i = 0; i < V; ++i) {
                        const Real x = Real(Element<Stored>::of(stage.x[r][j].word, i));
#pragma unroll
                        for (int k = 0; k < K; ++k) gradient[j][i][k] += factor[k] * x;
                    }
                }
            }
        }
    };

    const Index tiles = (rows + ROWS * GROUPS - 1) / (ROWS * GROUPS), step = gridDim.x;
    Stage stages[STAGES];
    if constexpr (STAGES == 1) {
        for (Index tile = blockIdx.x; tile < tiles; tile += step) {
            load(stages[0], tile);
            process(stages[0], tile);
        }
    } else {
        Index tile = blockIdx.x;
        load(stages[0], tile);
        while (tile < tiles) {
            load(stages[1], tile + step);
            process(stages[0], tile);
            tile += step;
            if (tile >= tiles) break;
            load(stages[0], tile + step);
            process(stages[1], tile);
            tile += step;
        }
    }

    if constexpr (BACKWARD) {
        partial += (Index)blockIdx.x * n * K;
        // Groups of one warp, then warps in their order.
#pragma unroll
        for (int j = 0; j < LOADS; ++j) {
#pragma unroll
            for (int i = 0; i < V; ++i) {
#pragma unroll
                for (int k = 0; k < K; ++k) {
#pragma unroll
                    for (int far = 16; far >= GROUP; far /= 2)
                        gradient[j][i][k] += __shfl_xor_sync(ALL_LANES, gradient[j][i][k], far);
                    if constexpr (GROUP == THREADS) {
                        if (within(j)) partial[(Index)(column(j) + i) * K + k] = gradient[j][i][k];
                    }
                }
            }
        }
        if constexpr (GROUP < THREADS) {
#pragma unroll 1
            for (int turn = 0; turn < THREADS / 32; ++turn) {
                if (threadIdx.x / 32 == turn && threadIdx.x % 32 < GROUP) {
#pragma unroll
                    for (int j = 0; j < LOADS; ++j) {
#pragma unroll
                        for (int i = 0; i < V; ++i) {
#pragma unroll
                            for (int k = 0; k < K; ++k) {
                                Real& sum = shared[((j * V + i) * K + k) * GROUP + thread];
                                sum = turn == 0 ? gradient[j][i][k] : sum + gradient[j][i][k];
                                if (turn == THREADS / 32 - 1 && within(j))
                                    partial[(Index)(column(j) + i) * K + k] = sum;
                            }
                        }
                    }
                }
                __syncthreads();
            }
        }
        if (WARPS > 1 && threadIdx.x < ROWS) {
#pragma unroll
            for (int i = 0; i <= K; ++i) sums[i] = of_lane[lane][i];
        }
        write_sums_of_block<THREADS>(sums, scalars + (Index)blockIdx.x * (1 + K), true);
    }
}

// --- the sums of all blocks -------------------------------------------------------------------------------------------------

// The sum over the blocks of number i of `count` partial sums and then `others` scalars, in float64, for lane 0 of the warp
// whose number `mine` it is. A block takes 32 numbers, its warps every 32nd partial sum of them.
template <class Partial>
__device__ inline double sum_over_blocks(const Partial* __restrict__ partial, const double* __restrict__ scalars, int blocks,
                                         Index count, int others, Index& mine) {
    __shared__ double of_warp[32][33];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const Index i = (Index)blockIdx.x * 32 + lane;
    double sum = 0;
    if (i < count) {
        for (int block = warp; block < blocks; block += 32) sum += double(partial[block * count + i]);
    } else if (i < count + others) {
        for (int block = warp; block < blocks; block += 32) sum += scalars[(Index)block * others + (i - count)];
    }
    of_warp[warp][lane] = sum;
    __syncthreads();
    // Transposed: each warp adds up one number after the other.
    mine = (Index)blockIdx.x * 32 + warp;
    return sum_over_lanes<32>(of_warp[lane][warp]);
}

// out[i] (count,) = sum over the blocks of partial[block][i], then totals (others,) of scalars likewise; in float64.
template <class Partial, class Real>
__global__ void __launch_bounds__(1024)
    add_blocks(const Partial* __restrict__ partial, const double* __restrict__ scalars, int blocks, Index count, int others,
               Real* __restrict__ out, double* __restrict__ totals) {
    Index mine;
    const double sum = sum_over_blocks(partial, scalars, blocks, count, others, mine);
    if (threadIdx.x % 32 != 0) return;
    if (mine < count) out[mine] = Real(sum);
    else if (mine < count + others) totals[mine - count] = sum;
}

// The same sums, of which a step of gradient descent is made at once. p is (u, c), the `count` weights of the scaled
// features and then, `intercept` being 1, the others - 1 intercepts; w = scale u and b = c are those of X as it is stored.
// All is rounded where `Objective` rounds it, so that the steps have the same bits whether somebody looks or not.
template <class Real>
__global__ void __launch_bounds__(1024)
    add_blocks_and_descend(const Real* __restrict__ partial, const double* __restrict__ scalars, int blocks, Index count,
                           int others, double total_weight, double scale, double rate, int intercept, Real* __restrict__ p,
                           Real* __restrict__ w, Real* __restrict__ b) {
    Index mine;
    const double sum = sum_over_blocks(partial, scalars, blocks, count, others, mine);
    if (threadIdx.x % 32 != 0) return;
    if (mine < count) {
        const Real gradient = Real(scale * (double(Real(sum)) / total_weight));
        p[mine] -= rounded_product(Real(rate), gradient);
        w[mine] = Real(scale) * p[mine];
    } else if (intercept && mine > count && mine < count + others) {  // the first of the others is the cost
        p[mine - 1] -= rounded_product(Real(rate), Real(sum / total_weight));
        b[mine - 1 - count] = p[mine - 1];
    }
}

// --- rows too long for one block ----------------------------------------------------------------------------------------------

// The second half of a pass over a tile of rows that the second-level cache holds, after one_read<Product> with slices:
// margins are (slices, rows, OUTPUTS), the parts of X w. Block (x, y) takes the x-th share of the rows and the y-th slice of
// the columns; partial[x] (columns, OUTPUTS), in float64 since tiles are many, and scalars[x] are added to unless this is the
// `first` tile. Slice 0 writes z.
template <class Pointwise, class Stored, int BYTES, int LOADS, int THREADS>
__global__ void __launch_bounds__(THREADS)
    wide_backward(const Stored* __restrict__ X, Index stride, int rows, int columns,
                  const typename Pointwise::Real* __restrict__ margins, int slices,
                  const typename Pointwise::Real* __restrict__ b, const typename Pointwise::Real* __restrict__ known,
                  const typename Pointwise::Real* __restrict__ s, typename Pointwise::Real* __restrict__ z,
                  double* __restrict__ partial, double* __restrict__ scalars, int first) {
    typedef typename Pointwise::Real Real;
    constexpr int K = Pointwise::OUTPUTS, KNOWN = Pointwise::KNOWN, V = BYTES / sizeof(Stored);
    __shared__ Real factor[THREADS][K];

    const Index offset = (Index)blockIdx.y * (LOADS * THREADS * V);
    const auto column = [&](int j) { return offset + (j * THREADS + (int)threadIdx.x) * V; };
    const int share = (rows + gridDim.x - 1) / gridDim.x, begin = blockIdx.x * share;
    const int end = begin + share < rows ? begin + share : rows;
    partial += (Index)blockIdx.x * columns * K;

    Real gradient[LOADS][V][K] = {};
    double sums[1 + K] = {};
    for (int chunk = begin; chunk < end; chunk += THREADS) {
        const int row = chunk + threadIdx.x;
        __syncthreads();
        if (row < end) {
            Real own[K], dz[K];
#pragma unroll
            for (int k = 0; k < K; ++k) {
                own[k] = margins[(Index)row * K + k];
                for (int slice = 1; slice < slices; ++slice) own[k] += margins[((Index)slice * rows + row) * K + k];
                own[k] += b == nullptr ? Real(0) : b[k];
                if (blockIdx.y == 0) z[(Index)row * K + k] = own[k];
            }
            const Real weight = s == nullptr ? Real(1) : s[row];
            sums[0] += Pointwise::term(own, known + (Index)row * KNOWN, dz) * weight;
#pragma unroll
            for (int k = 0; k < K; ++k) {
                factor[threadIdx.x][k] = dz[k] * weight;
                sums[1 + k] += dz[k] * weight;
            }
        }
        __syncthreads();
        const int count = end - chunk < THREADS ? end - chunk : THREADS;
#pragma unroll 2
        for (int r = 0; r < count; ++r) {
            const Stored* const from = X + (Index)(chunk + r) * stride;
            Packed<BYTES> x[LOADS];
#pragma unroll
            for (int j = 0; j < LOADS; ++j) {
                if (column(j) < columns) x[j].load(from + column(j));
                else x[j].clear();
            }
#pragma unroll
            for (int j = 0; j < LOADS; ++j) {
#pragma unroll
                for (int i = 0; i < V; ++i) {
                    const Real value = Real(Element<Stored>::of(x[j].word, i));
#pragma unroll
                    for (int k = 0; k < K; ++k) gradient[j][i][k] += factor[r][k] * value;
                }
            }
        }
    }
#pragma unroll
    for (int j = 0; j < LOADS; ++j) {
#pragma unroll
        for (int i = 0; i < V; ++i) {
#pragma unroll
            for (int k = 0; k < K; ++k) {
                double* const sum = partial + (column(j) + i) * K + k;
                if (column(j) < columns) *sum = first ? gradient[j][i][k] : *sum + gradient[j][i][k];
            }
        }
    }
    if (blockIdx.y == 0) write_sums_of_block<THREADS>(sums, scalars + (Index)blockIdx.x * (1 + K), first != 0);
}
