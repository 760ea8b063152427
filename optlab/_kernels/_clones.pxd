# A function declared `cdef CVOID f(...)` is compiled once per instruction set and chosen when the library is
# loaded (glibc ifunc). Elsewhere (old gcc, clang, musl, other processors, MSVC) it is an ordinary function.
# `cdef IVOID f(...)` is inlined wherever it is called, so that a constant argument is one inside.
# `cdef SUMS f(...)` is a CVOID whose sums may be taken in any order, in files that keep it otherwise.
# `cdef SVOID f(...)` keeps gcc from vectorizing: short rows with indirect reads run slower in vectors.
cdef extern from *:
    """
    #if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && __GNUC__ >= 12 \\
        && !defined(__clang__) && !defined(OPTLAB_CHECKED)
    #define OPTLAB_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
    #else
    #define OPTLAB_CLONES
    #endif
    #if defined(__GNUC__) && !defined(__clang__) && !defined(OPTLAB_CHECKED)
    #define OPTLAB_SUMS OPTLAB_CLONES __attribute__((optimize("associative-math"))) void
    #else
    #define OPTLAB_SUMS OPTLAB_CLONES void
    #endif
    #if defined(__GNUC__) && !defined(__clang__)
    #define OPTLAB_SCALAR __attribute__((optimize("no-tree-vectorize")))
    #else
    #define OPTLAB_SCALAR
    #endif
    #if defined(__GNUC__)
    #define OPTLAB_INLINE inline __attribute__((always_inline))
    #else
    #define OPTLAB_INLINE inline
    #endif
    """
    ctypedef void CVOID "OPTLAB_CLONES void"
    ctypedef void SUMS "OPTLAB_SUMS"
    ctypedef void SVOID "OPTLAB_SCALAR void"
    ctypedef void IVOID "OPTLAB_INLINE void"
