# `cmake --install`: the program, the library with its headers and pkg-config file, the manual page
# and the completions, which the program itself prints.
include(GNUInstallDirs)
install(TARGETS tern libtern)
install(DIRECTORY include/tern DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})

# What a program that links libtern.a needs besides.
set(TERN_LIBRARY_MODULES "libpcre2-8 libutf8proc jansson")
if(HWLOC_FOUND)
    string(APPEND TERN_LIBRARY_MODULES " hwloc")
endif()
set(TERN_LIBRARY_FLAGS "-lm -pthread")
if(TERN_CUDA_BUILT) # the CUDA runtime is linked in from where the toolkit is
    set(TERN_LIBRARY_FLAGS "${TERN_CUDART} -lstdc++ -lrt -ldl ${TERN_LIBRARY_FLAGS}")
endif()
file(RELATIVE_PATH TERN_PREFIX_FROM_PC /p/${CMAKE_INSTALL_LIBDIR}/pkgconfig /p)
configure_file(cmake/tern.pc.in tern.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/tern.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

# tern_prints(FILE FOLDER NAME WORD...): what `tern WORD...` prints, installed as FOLDER/NAME.
set(TERN_PRINTED "")
function(tern_prints file folder name)
    set(path ${CMAKE_CURRENT_BINARY_DIR}/${file})
    add_custom_command(OUTPUT ${path} COMMAND tern ${ARGN} > ${path} DEPENDS tern VERBATIM)
    install(FILES ${path} DESTINATION ${folder} RENAME ${name})
    set(TERN_PRINTED ${TERN_PRINTED} ${path} PARENT_SCOPE)
endfunction()
if(NOT CMAKE_CROSSCOMPILING OR CMAKE_CROSSCOMPILING_EMULATOR)
    set(data ${CMAKE_INSTALL_DATADIR})
    tern_prints(tern.1 ${CMAKE_INSTALL_MANDIR}/man1 tern.1 man)
    tern_prints(tern.bash ${data}/bash-completion/completions tern completion bash)
    tern_prints(tern.zsh ${data}/zsh/site-functions _tern completion zsh)
    tern_prints(tern.fish ${data}/fish/vendor_completions.d tern.fish completion fish)
    add_custom_target(printed ALL DEPENDS ${TERN_PRINTED})
endif()
