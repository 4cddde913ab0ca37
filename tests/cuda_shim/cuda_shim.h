// CUDA C++ on a CPU, as much of it as gpulr's kernels use, so that the tests run the very source that a GPU runs.
//
// A block's threads are fibers on one thread of the operating system: each runs to its next shuffle or barrier, then the next
// one's turn comes. Warps advance by themselves until a barrier; which of them, and which of their lanes, comes first is
// chosen by `order`: 0 is by number, 1 the other way round. A kernel whose result depends on it has a race. A shuffle that
// some lanes of the warp do not reach, or a barrier that some threads do not, ends the program with a message.
//
// Compiled with -include, which takes the place of what NVRTC knows by itself. x86-64 or any system with ucontext.

#pragma once
#define CUDA_SHIM

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <tuple>
#include <utility>
#include <vector>

#include <sys/mman.h>
#include <ucontext.h>

#define __global__
#define __device__
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __shared__ thread_local  // as `static`, but it goes with `extern`; all fibers are one thread

struct dim3_ { unsigned x, y; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(16) double2 { double x, y; };

inline dim3_ threadIdx, blockIdx, gridDim, blockDim;

// --- fibers -----------------------------------------------------------------------------------------------------------------

namespace shim {

constexpr int STACK = 256 << 10;

// Saves the registers that a function must keep, changes stacks, restores. Twenty times as fast as swapcontext, which calls
// the operating system for the signal mask.
#if defined(__x86_64__)
extern "C" void gpulr_shim_switch(void** from, void* to);
asm(R"(
.text
.weak gpulr_shim_switch
.hidden gpulr_shim_switch
gpulr_shim_switch:
    pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
    ret
)");
struct Context {
    void* stack_pointer = nullptr;
    void start(char* stack, void (*entry)()) {
        void** top = reinterpret_cast<void**>(stack + STACK);
        *--top = nullptr;  // alignment: at a function's entry the stack pointer is 8 off a multiple of 16
        *--top = reinterpret_cast<void*>(entry);
        for (int i = 0; i < 6; ++i) *--top = nullptr;
        stack_pointer = top;
    }
    static void change(Context& from, Context& to) { gpulr_shim_switch(&from.stack_pointer, to.stack_pointer); }
};
#else
struct Context {
    ucontext_t context;
    void start(char* stack, void (*entry)()) {
        getcontext(&context);
        context.uc_stack.ss_sp = stack, context.uc_stack.ss_size = STACK, context.uc_link = nullptr;
        makecontext(&context, entry, 0);
    }
    static void change(Context& from, Context& to) { swapcontext(&from.context, &to.context); }
};
#endif

enum State { RUNNING, SHUFFLE, BARRIER, DONE };

struct Fiber {
    Context context;
    State state;
    unsigned shuffles;
    uint64_t shown[2];  // of this and of the last shuffle: another lane may yet have to read that one
};

inline std::vector<Fiber> fibers;
inline std::vector<char*> stacks;
inline Context scheduler;
inline int current;
inline void (*body)(void*);
inline void* body_arguments;

[[noreturn]] inline void fail(const char* what) {
    std::fprintf(stderr, "cuda_shim: %s (block %u, %u, thread %d)\n", what, blockIdx.x, blockIdx.y, current);
    std::abort();
}

inline void pause(State state) {
    fibers[current].state = state;
    Context::change(fibers[current].context, scheduler);
}

inline void fiber_main() {
    body(body_arguments);
    pause(DONE);
    fail("a finished thread went on");
}

inline void resume(int thread) {
    current = thread;
    threadIdx.x = thread;
    fibers[thread].state = RUNNING;
    Context::change(scheduler, fibers[thread].context);
}

inline void run_block(int threads, int order) {
    fibers.resize(threads);
    while ((int)stacks.size() < threads) {
        void* stack = mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (stack == MAP_FAILED) fail("no memory for a stack");
        stacks.push_back(static_cast<char*>(stack));
    }
    for (int i = 0; i < threads; ++i) {
        fibers[i].context.start(stacks[i], fiber_main);
        fibers[i].state = RUNNING, fibers[i].shuffles = 0;
    }
    const int warps = threads / 32;
    for (;;) {
        int at_barrier = 0, done = 0;
        for (int i = 0; i < warps; ++i) {
            const int warp = order ? warps - 1 - i : i;
            // To the barrier or the end, shuffle by shuffle.
            for (;;) {
                Fiber* const lanes = &fibers[warp * 32];
                if (lanes[0].state == BARRIER || lanes[0].state == DONE) break;
                for (int j = 0; j < 32; ++j) resume(warp * 32 + (order ? 31 - j : j));
                for (int j = 1; j < 32; ++j) {
                    current = warp * 32 + j;
                    if (lanes[j].state != lanes[0].state) fail("the lanes of a warp are not at the same shuffle, barrier or end");
                }
            }
            at_barrier += fibers[warp * 32].state == BARRIER;
            done += fibers[warp * 32].state == DONE;
        }
        if (done == warps) return;
        if (at_barrier != warps) fail("a barrier that not all threads reach");
        for (Fiber& fiber : fibers) fiber.state = RUNNING;
    }
}

template <class T> T shuffle(T value, int from) {
    static_assert(sizeof(T) <= 8);
    Fiber& fiber = fibers[current];
    const unsigned place = fiber.shuffles++ % 2;
    std::memcpy(&fiber.shown[place], &value, sizeof value);
    const int base = current / 32 * 32;
    pause(SHUFFLE);
    std::memcpy(&value, &fibers[base + from].shown[place], sizeof value);
    return value;
}

// --- launches ---------------------------------------------------------------------------------------------------------------

struct Launch {
    unsigned grid[2];
    int threads;
    int64_t dynamic_bytes;
    int order;
};

// So that the kernels' `extern __shared__ double dynamic[]` is one array of the whole library.
constexpr int64_t MOST_SHARED = 256 << 10;

template <class... A, size_t... I>
void call(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
    kernel(*static_cast<A*>(arguments[I])...);
}

template <class... A> void launch(void (*kernel)(A...), const Launch& how, void** arguments, double* dynamic) {
    struct Call { void (*kernel)(A...); void** arguments; } it{kernel, arguments};
    if (how.dynamic_bytes > MOST_SHARED) fail("too much shared memory");
    if (how.threads % 32) fail("a warp that is not whole");
    body = [](void* raw) {
        Call& it = *static_cast<Call*>(raw);
        call(it.kernel, it.arguments, std::index_sequence_for<A...>{});
    };
    body_arguments = &it;
    gridDim = {how.grid[0], how.grid[1]};
    blockDim = {(unsigned)how.threads, 1};
    const unsigned blocks = how.grid[0] * how.grid[1];
    for (unsigned i = 0; i < blocks; ++i) {
        const unsigned block = how.order ? blocks - 1 - i : i;
        blockIdx = {block % how.grid[0], block / how.grid[0]};
        std::memset(dynamic, 0xFF, how.dynamic_bytes);  // NaN: nothing may be read before it is written
        run_block(how.threads, how.order);
    }
}

template <class To, class From> To bits(From from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}

}  // namespace shim

// --- what CUDA has built in -------------------------------------------------------------------------------------------------

inline void __syncthreads() { shim::pause(shim::BARRIER); }

template <class T> T __shfl_xor_sync(unsigned mask, T value, int lanes) {
    if (mask != 0xFFFFFFFFu) shim::fail("a shuffle of some lanes");
    return shim::shuffle(value, (shim::current % 32) ^ lanes);
}
template <class T> T __shfl_sync(unsigned mask, T value, int lane, int width = 32) {
    if (mask != 0xFFFFFFFFu) shim::fail("a shuffle of some lanes");
    const int own = shim::current % 32;
    return shim::shuffle(value, own / width * width + lane % width);
}

template <class T> T __ldg(const T* from) {
    if (reinterpret_cast<uintptr_t>(from) % sizeof(T)) shim::fail("a load from an address that is not a multiple of its size");
    return *from;
}

inline float __fmul_rn(float a, float b) { return a * b; }
inline double __dmul_rn(double a, double b) { return a * b; }

inline float __uint_as_float(unsigned value) { return shim::bits<float>(value); }
inline double __hiloint2double(int high, int low) {
    return shim::bits<double>((uint64_t)(uint32_t)high << 32 | (uint32_t)low);
}
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
    const uint64_t bytes = (uint64_t)y << 32 | x;
    unsigned value = 0;
    for (int i = 0; i < 4; ++i) value |= (unsigned)(bytes >> (selector >> 4 * i & 7) * 8 & 0xFF) << 8 * i;
    return value;
}

// The instruction cvt.f32.f16, which is exact.
inline float half_to_float(unsigned bits) {
    const unsigned sign = bits >> 15, exponent = bits >> 10 & 31, digits = bits & 1023;
    const float size = exponent == 31 ? (digits ? NAN : INFINITY)
                     : exponent == 0 ? std::ldexp((float)digits, -24) : std::ldexp((float)(1024 + digits), (int)exponent - 25);
    return sign ? -size : size;
}
