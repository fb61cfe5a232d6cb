# Libraries that are not ours: Debian packages, or the same packages unpacked under .deps/.
set(TERN_DEPS "${CMAKE_SOURCE_DIR}/.deps/root")
if(EXISTS "${TERN_DEPS}/usr")
    list(PREPEND CMAKE_PREFIX_PATH "${TERN_DEPS}/usr")
    set(ENV{PKG_CONFIG_SYSROOT_DIR} "${TERN_DEPS}")
    file(GLOB TERN_DEPS_PKGCONFIG "${TERN_DEPS}/usr/lib/*/pkgconfig")
    list(JOIN TERN_DEPS_PKGCONFIG ":" TERN_DEPS_PKGCONFIG)
    set(ENV{PKG_CONFIG_LIBDIR}
        "${TERN_DEPS_PKGCONFIG}:${TERN_DEPS}/usr/lib/pkgconfig:${TERN_DEPS}/usr/share/pkgconfig")
endif()

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)
if(TERN_TESTS)
    pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET cmocka)
endif()
