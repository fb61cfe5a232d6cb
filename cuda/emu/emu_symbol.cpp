/* emu_symbol.cpp - the name of a kernel from its address, for reports. Kernels are static functions,
 * which dladdr() does not know: this reads the symbol table of the program's own ELF file. */
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "emu_state.h"

namespace tern_emu_rt {

struct emu_image {
    const uint8_t *bytes; /* of the file; NULL: it could not be read */
    size_t n_bytes;
};

static emu_image map_program(void)
{
    emu_image image = {nullptr, 0};
    const int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (file < 0) return image;
    struct stat status;
    if (fstat(file, &status) == 0 && status.st_size >= (off_t)sizeof(ElfW(Ehdr))) {
        const size_t n = (size_t)status.st_size;
        void *bytes = mmap(nullptr, n, PROT_READ, MAP_PRIVATE, file, 0);
        if (bytes != MAP_FAILED) image = {(const uint8_t *)bytes, n};
    }
    close(file);
    return image;
}

/* The first object that the loader lists is the program: how far it lies from its own addresses. */
static int take_base(struct dl_phdr_info *info, size_t, void *base)
{
    *(uintptr_t *)base = info->dlpi_addr;
    return 1;
}

static bool holds(const emu_image *image, uint64_t offset, uint64_t bytes)
{
    return offset <= image->n_bytes && bytes <= image->n_bytes - offset;
}

/* The mangled name of the function at `address` in one symbol table, or NULL. */
static const char *look_up(const emu_image *image, const ElfW(Shdr) * table,
                           const ElfW(Shdr) * strings, uintptr_t address)
{
    if (!holds(image, table->sh_offset, table->sh_size) || strings->sh_size == 0 ||
        !holds(image, strings->sh_offset, strings->sh_size))
        return nullptr;
    const char *names = (const char *)image->bytes + strings->sh_offset;
    if (names[strings->sh_size - 1] != 0) return nullptr;
    for (size_t i = 0; i < table->sh_size / sizeof(ElfW(Sym)); i++) {
        ElfW(Sym) symbol;
        memcpy(&symbol, image->bytes + table->sh_offset + i * sizeof symbol, sizeof symbol);
        if ((symbol.st_info & 15) == STT_FUNC && symbol.st_value == address &&
            symbol.st_name < strings->sh_size)
            return names + symbol.st_name;
    }
    return nullptr;
}

static const char *mangled_name(const emu_image *image, uintptr_t address)
{
    ElfW(Ehdr) header;
    memcpy(&header, image->bytes, sizeof header);
    const uint64_t n = header.e_shnum, step = sizeof(ElfW(Shdr));
    if (header.e_shentsize != step || !holds(image, header.e_shoff, n * step)) return nullptr;
    const ElfW(Shdr) *sections = (const ElfW(Shdr) *)(image->bytes + header.e_shoff);
    for (uint64_t i = 0; i < n; i++)
        if (sections[i].sh_type == SHT_SYMTAB && sections[i].sh_link < n)
            return look_up(image, &sections[i], &sections[sections[i].sh_link], address);
    return nullptr;
}

/* The last identifier of a nested name: _ZN8tern_emuL10add_kernelE... is add_kernel. */
static bool last_identifier(char *out, size_t out_bytes, const char *mangled)
{
    size_t length = 0;
    if (strncmp(mangled, "_ZN", 3) != 0) return false;
    for (const char *at = mangled + 3; *at;) {
        if (*at == 'L') at++; /* a function of one file */
        char *id;
        const unsigned long n = *at >= '1' && *at <= '9' ? strtoul(at, &id, 10) : 0;
        if (n == 0 || n > strlen(id) || n >= out_bytes) break;
        memcpy(out, id, n);
        length = n;
        at = id + n;
    }
    out[length] = 0;
    return length > 0;
}

bool emu_symbol_name(char *out, size_t out_bytes, void (*function)(void))
{
    static emu_image image;
    static uintptr_t base;
    if (!image.bytes) {
        image = map_program();
        dl_iterate_phdr(take_base, &base);
    }
    if (!image.bytes) return false;
    const char *mangled = mangled_name(&image, (uintptr_t)function - base);
    return mangled && last_identifier(out, out_bytes, mangled);
}

} /* namespace tern_emu_rt */
