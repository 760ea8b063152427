# A function declared `cdef CVOID f(...)` is compiled once per instruction set and chosen when the library is
# loaded (glibc ifunc). Elsewhere (old gcc, clang, musl, other processors, MSVC) it is an ordinary function.
cdef extern from *:
    """
    #if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && __GNUC__ >= 12 && !defined(__clang__)
    #define OPTLAB_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
    #else
    #define OPTLAB_CLONES
    #endif
    """
    ctypedef void CVOID "OPTLAB_CLONES void"
