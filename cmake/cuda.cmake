# The CUDA backend: with a toolkit every cuda/*.cu is compiled by nvcc and joins libtern. The CUDA
# runtime is linked statically and looks for the driver when it is first called, so the program
# starts and works on a machine without one.
#
# CMAKE_CUDA_ARCHITECTURES narrows what is built, in CMake's own words: 90a-real is machine code,
# 80-virtual is PTX, 75 is both.
set(TERN_CUDA "AUTO" CACHE STRING "compile the CUDA backend: ON, OFF, or AUTO where nvcc is found")
set(TERN_CUDA_BUILT OFF)

if(NOT TERN_CUDA MATCHES "^(AUTO|ON|OFF)$")
    message(FATAL_ERROR "TERN_CUDA is '${TERN_CUDA}': use AUTO, ON or OFF")
endif()
# The emulator is what runs these sources under sanitizers.
if(TERN_CUDA STREQUAL "OFF" OR (TERN_CUDA STREQUAL "AUTO" AND (CMAKE_CROSSCOMPILING
                                                               OR TERN_SANITIZE)))
    return()
endif()

find_program(TERN_NVCC NAMES $ENV{CUDACXX} nvcc HINTS ENV CUDA_HOME ENV CUDA_PATH
    PATHS /usr/local/cuda PATH_SUFFIXES bin)
if(NOT TERN_NVCC)
    if(TERN_CUDA STREQUAL "ON")
        message(FATAL_ERROR "TERN_CUDA is ON, but nvcc is not found: put it on PATH, or name it in "
            "CUDACXX or its toolkit in CUDA_HOME")
    endif()
    return()
endif()
get_filename_component(toolkit "${TERN_NVCC}" REALPATH)
get_filename_component(toolkit "${toolkit}/../.." ABSOLUTE)
find_library(TERN_CUDART cudart_static REQUIRED NO_DEFAULT_PATH
    PATHS ${toolkit}/lib64 ${toolkit}/lib /usr/lib/${CMAKE_SYSTEM_PROCESSOR}-linux-gnu)

# Everything of DESIGN 7 that this nvcc knows; what is newer than its list loads the PTX.
set(architectures ${CMAKE_CUDA_ARCHITECTURES})
if(NOT architectures)
    execute_process(COMMAND ${TERN_NVCC} --list-gpu-code OUTPUT_VARIABLE known ERROR_QUIET)
    foreach(architecture 75 80 86 89 90a 120)
        string(REGEX REPLACE "[a-z]$" "" number ${architecture})
        if(known MATCHES "sm_${number}[^0-9]")
            list(APPEND architectures ${architecture}-real)
        else()
            message(STATUS "CUDA: this nvcc knows no sm_${number}")
        endif()
    endforeach()
    list(APPEND architectures 80-virtual)
endif()
set(codes "")
foreach(architecture ${architectures})
    if(NOT architecture MATCHES "^([0-9]+[af]?)(-real|-virtual|)$")
        message(FATAL_ERROR "CMAKE_CUDA_ARCHITECTURES has '${architecture}': use numbers as in "
            "75, 90a-real, 80-virtual")
    endif()
    if(NOT CMAKE_MATCH_2 STREQUAL "-virtual")
        list(APPEND codes -gencode arch=compute_${CMAKE_MATCH_1},code=sm_${CMAKE_MATCH_1})
    endif()
    if(NOT CMAKE_MATCH_2 STREQUAL "-real")
        list(APPEND codes -gencode arch=compute_${CMAKE_MATCH_1},code=compute_${CMAKE_MATCH_1})
    endif()
endforeach()

# Division and square root stay correctly rounded, nothing is contracted or flushed (N1).
set(TERN_NVCC_FLAGS -std=c++17 -O3 --fmad=false -lineinfo -ccbin ${CMAKE_CXX_COMPILER} ${codes}
    -Xcompiler=-Wall,-Wextra,-Wshadow,-Wconversion,-O2,-g,-fno-exceptions,-fno-rtti
    -Xcompiler=-ffp-contract=off -D_GNU_SOURCE)
string(STRIP "${CMAKE_CXX_COMPILER_ARG1}" argument)
if(argument)
    list(APPEND TERN_NVCC_FLAGS "-Xcompiler=${argument}")
endif()
if(TERN_WERROR)
    list(APPEND TERN_NVCC_FLAGS -Werror all-warnings -Xcompiler=-Werror)
endif()

# tern_nvcc(OBJECT SOURCE): adds what compiles SOURCE and sets OBJECT to the path of its object.
# Beside it stay ptxas.log and the PTX and machine code of every architecture, for inspect_cuda.
function(tern_nvcc object source)
    get_filename_component(name ${source} NAME_WE)
    set(folder ${CMAKE_CURRENT_BINARY_DIR}/nvcc/${name})
    add_custom_command(OUTPUT ${folder}/${name}.o
        COMMAND ${CMAKE_SOURCE_DIR}/scripts/compile_cuda ${folder} ${TERN_NVCC} ${TERN_NVCC_FLAGS}
            -I${CMAKE_SOURCE_DIR}/runtime -I${CMAKE_SOURCE_DIR}/include -I${CMAKE_SOURCE_DIR}
            -MD -MF ${folder}/${name}.d -MT ${folder}/${name}.o
            -c ${source} -o ${folder}/${name}.o
        DEPENDS ${source} ${CMAKE_SOURCE_DIR}/scripts/compile_cuda
        DEPFILE ${folder}/${name}.d
        COMMENT "Compiling CUDA ${name}.cu" VERBATIM)
    set(${object} ${folder}/${name}.o PARENT_SCOPE)
endfunction()

# tern_use_cuda(TARGET SOURCE...): compiles the sources into TARGET.
function(tern_use_cuda target)
    foreach(source ${ARGN})
        tern_nvcc(object ${source})
        target_sources(${target} PRIVATE ${object})
        set_source_files_properties(${object} PROPERTIES EXTERNAL_OBJECT TRUE GENERATED TRUE)
    endforeach()
endfunction()

set(TERN_CUDA_BUILT ON)
list(JOIN architectures " " words)
message(STATUS "CUDA: ${TERN_NVCC} for ${words}")
