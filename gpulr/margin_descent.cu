// Many steps of gradient descent in Gram space for two classes in one launch of one block; gpulr/margin_descent.py has the
// formula, gpulr/margin_descent_kernel.py the launch.
//
// A step of a small problem takes less time than the start of a kernel, so one block makes them all. A thread has a row of M
// and a share of its columns: of these it keeps the first HELD numbers in registers and the next ones in shared memory, and
// reads what is left over from the second-level cache, step by step. v and the sum are in registers.
//
// Every sum has a fixed order, so the same launch gives the same bits.

typedef long long Index;

constexpr int HELD = 12;  // with all else no more than 64 registers, what each of 1024 threads can have

// `steps` times, with s (m,) = 1 / (1 + exp(v)):  total += s,  v += M s.
// v and total (m,) are read and written, so that another launch may go on. transposed is M's transpose (m, m): threads
// beside each other have rows beside each other. blockDim.x is groups * rows, rows >= m; a group has `share` columns, of
// which `kept` come from shared memory, both even. Shared memory: `padded` numbers for s, the groups' columns or more,
// blockDim.x for the parts of the products and blockDim.x * kept for M.
__global__ void __launch_bounds__(1024)
    margin_descent(const double* __restrict__ transposed, double* __restrict__ v, double* __restrict__ total, int m,
                   int rows, int share, int kept, int padded, Index steps) {
    extern __shared__ __align__(16) double dynamic[];  // read by twos
    const int thread = threadIdx.x, threads = blockDim.x, row = thread % rows, begin = thread / rows * share;
    const int end = row < m ? (begin + share < m ? begin + share : m) : 0;
    double* const s = dynamic;
    double* const parts = s + padded;
    double* const mine = parts + threads + thread;  // every threads-th number
    const double* const column = transposed + row;

    // Beyond the share's end are zeros, so that the steps need not ask.
    double held[HELD];
#pragma unroll
    for (int i = 0; i < HELD; ++i) held[i] = begin + i < end ? column[(begin + i) * m] : 0.0;
    const int first = begin + HELD;
    for (int i = 0; i < kept; ++i) mine[i * threads] = first + i < end ? column[(first + i) * m] : 0.0;
    for (int i = thread; i < padded; i += threads) s[i] = 0;
    __syncthreads();

    const bool owner = thread < m;  // of v and the sum of a row
    double own = owner ? v[thread] : 0.0, sum = owner ? total[thread] : 0.0;
    for (Index step = 0; step < steps; ++step) {
        if (owner) {
            s[thread] = 1 / (1 + exp(own));  // an overflow gives 0, which it is
            sum += s[thread];
        }
        __syncthreads();
        double even = 0, odd = 0;
        const double2* pair = reinterpret_cast<const double2*>(s + begin);
#pragma unroll
        for (int i = 0; i < HELD; i += 2, ++pair) {
            const double2 two = *pair;
            even += held[i] * two.x, odd += held[i + 1] * two.y;
        }
#pragma unroll 4
        for (int i = 0; i < kept; i += 2, ++pair) {
            const double2 two = *pair;
            even += mine[i * threads] * two.x, odd += mine[(i + 1) * threads] * two.y;
        }
#pragma unroll 8
        for (int j = first + kept; j < end; ++j) even += column[j * m] * s[j];
        parts[thread] = even + odd;
        __syncthreads();
        if (owner) {
            for (int part = thread; part < threads; part += rows) own += parts[part];
        }
    }
    if (owner) v[thread] = own, total[thread] = sum;
}
