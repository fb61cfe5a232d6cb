# Libraries that are not ours: Debian packages, or the same packages unpacked by scripts/deps, which
# come first. Their pkg-config files name their place relative to themselves.
if(CMAKE_CROSSCOMPILING)
    set(TERN_DEPS "${CMAKE_SYSROOT}")
else()
    set(TERN_DEPS "${CMAKE_SOURCE_DIR}/.deps/root")
endif()
file(GLOB TERN_DEPS_PKGCONFIG "${TERN_DEPS}/usr/lib/*/pkgconfig")
list(JOIN TERN_DEPS_PKGCONFIG ":" TERN_DEPS_PKGCONFIG)
if(CMAKE_CROSSCOMPILING)
    set(ENV{PKG_CONFIG_LIBDIR} "${TERN_DEPS_PKGCONFIG}") # the host's own libraries are not for us
    set(ENV{PKG_CONFIG_PATH} "")
elseif(TERN_DEPS_PKGCONFIG)
    set(ENV{PKG_CONFIG_PATH} "${TERN_DEPS_PKGCONFIG}:$ENV{PKG_CONFIG_PATH}")
    list(APPEND CMAKE_BUILD_RPATH "${CMAKE_SOURCE_DIR}/.deps/lib")
endif()

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)
pkg_check_modules(LIBEDIT REQUIRED IMPORTED_TARGET libedit)
pkg_check_modules(MICROHTTPD REQUIRED IMPORTED_TARGET libmicrohttpd)
pkg_check_modules(HWLOC IMPORTED_TARGET hwloc>=2.4) # may be absent: runtime/base/topology.c
file(GLOB TERN_DEPS_HWLOC "${TERN_DEPS}/usr/include/*/hwloc") # what differs between architectures
if(HWLOC_FOUND AND TERN_DEPS_HWLOC)
    target_include_directories(PkgConfig::HWLOC SYSTEM INTERFACE "${TERN_DEPS_HWLOC}/..")
endif()
if(TERN_TESTS)
    pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET cmocka)
endif()
