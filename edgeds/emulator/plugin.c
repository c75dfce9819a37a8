/* A plugin for QEMU 7.2 in user mode (plugin API 1): what a marked region of an ARM64 program executes, block by block, and what
 * that does to the device's caches.
 *
 * The program marks by system calls that do nothing, getpgid(0x51D0000 | code): 3 starts the simulation of the caches (a warm-up
 * run fills them), 1 begins a region, 2 ends it. Before the first mark nothing is instrumented, so that loading costs what it costs
 * without a plugin. Counters are plain numbers: threads that run at once lose counts, so that it is told whether there were any.
 *
 * Caches are LRU with lines of 64 bytes, allocate on write and write back; the TLB is the second level's. Caches are addressed by where
 * a page lies in memory, which is anywhere: so lines of two pages can be in each other's way though the caches have room for both.
 *
 * A region is divided into slices, where that is asked for: by each system call clock_gettime (a profiler of operators reads the clock
 * before and behind each; QEMU 7.2 gives guests no vDSO, so that each reading is a call), or by each entry of one function.
 *
 * Arguments: out=FILE,l1=BYTES:WAYS,l2=BYTES:WAYS,l3=BYTES:WAYS,tlb=ENTRIES,page=BYTES; without l1 no caches are simulated, l3
 * may be missing; slices=clock, or slices=OFFSET:LIBRARY for the function at OFFSET in the file of that name.
 * FILE, lines of text: `regions N`, `peak_bytes N`, `other_threads 0 or 1`, `map ...` as in /proc/self/maps at the end of the last region,
 * `block NUMBER ADDRESS EXECUTIONS` + the counters of `enum counter` + the instructions in hexadecimal. For each slice `slice N`, then
 * `part NUMBER EXECUTIONS` + the counters for each block that ran in it, and `end_ns` with the emulator's own time. */
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* What is used of qemu-plugin.h, which no package ships for user mode. */
typedef uint64_t plugin_id;
struct translated_block;
struct instruction;
enum { NO_REGISTERS = 0, LOADS_AND_STORES = 3, ADD_U64 = 0 };
extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct translated_block *));
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct translated_block *, void (*)(unsigned, void *), int, void *);
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct translated_block *, int, void *, uint64_t);
extern void qemu_plugin_register_vcpu_mem_cb(struct instruction *, void (*)(unsigned, uint32_t, uint64_t, void *), int, int, void *);
extern void qemu_plugin_register_vcpu_syscall_cb(plugin_id, void (*)(plugin_id, unsigned, int64_t, uint64_t, uint64_t, uint64_t,
                                                                     uint64_t, uint64_t, uint64_t, uint64_t, uint64_t));
extern void qemu_plugin_register_atexit_cb(plugin_id, void (*)(plugin_id, void *), void *);
extern void qemu_plugin_reset(plugin_id, void (*)(plugin_id));
extern bool qemu_plugin_mem_is_store(uint32_t);
extern size_t qemu_plugin_tb_n_insns(const struct translated_block *);
extern uint64_t qemu_plugin_tb_vaddr(const struct translated_block *);
extern struct instruction *qemu_plugin_tb_get_insn(const struct translated_block *, size_t);
extern const void *qemu_plugin_insn_data(const struct instruction *);
__attribute__((visibility("default"))) int qemu_plugin_version = 1;

enum { GETPGID = 155, EXIT_GROUP = 94, CLOCK_GETTIME = 113, MUNMAP = 215 }; /* include/uapi/asm-generic/unistd.h */
enum { MARK = 0x51D0000, BEGIN = 1, END = 2, WARM = 3 };
enum { INSTRUCTION_BYTES = 4, MAX_INSTRUCTIONS = 512, BUCKETS = 1 << 16 };
enum { STREAMS = 16 };                            /* sequences of misses that are remembered */
enum { LARGE = 1 << 20 };                         /* bytes; releasing less changes no peak that is worth reading smaps for */
static const uint64_t GUEST_END = 1ull << 40;     /* QEMU maps the guest below, and is itself above 2^46 */

enum counter { EXECUTIONS, L2_HITS, L3_HITS, DRAM_READS, DRAM_WRITES, L2_WRITES, RANDOM, TLB_MISSES, STORE_READS, COUNTERS };

struct block {
    struct block *next;
    uint64_t address, size_bytes, number;
    uint64_t now[COUNTERS];     /* since the last begin, or the last slice */
    uint64_t regions[COUNTERS]; /* in all regions that have ended */
    uint8_t code[];
};

/* Per set `ways` tags, the last used first: (number + 1) << 1 | modified, 0 where there is none yet. */
struct cache {
    uint64_t *tags;
    uint32_t ways, sets;
};

static struct block *buckets[BUCKETS];
static struct cache l1, l2, l3, tlb;
static const char *out_path;
static bool instrumented;
static uint64_t regions, peak_bytes, last_line = UINT64_MAX, last_page = UINT64_MAX, last_place;
static uint32_t page_bits = 12;
static uint64_t streams[STREAMS];
static char *maps; /* lines for the output */

static bool slice_by_clock, in_region;
static char *slice_library; /* NULL, or where the function is whose entry begins a slice */
static uint64_t slice_offset, slice_address, n_slices, n_blocks;
static char *slices; /* lines for the output, which `slices_file` collects */
static size_t slices_bytes;
static FILE *slices_file;
static unsigned region_cpu; /* of the thread that marks */
static bool others_now, others; /* whether another thread ran since the begin, and in any region */

/* ---- the caches */

/* Looks `number` up and allocates it. True on a hit; else `*victim` is the modified one that had to go, or 0 (they are + 1). */
static inline bool touch(struct cache *cache, uint64_t number, uint64_t modified, uint64_t *victim) {
    uint64_t *set = cache->tags + (size_t)((uint32_t)number % cache->sets) * cache->ways;
    uint64_t tag = (number + 1) << 1;
    uint32_t way = 0;
    while (way < cache->ways && (set[way] | 1) != (tag | 1)) way++;
    bool hit = way < cache->ways;
    *victim = 0;
    if (hit) {
        tag = set[way];
    } else {
        way--;
        if (set[way] & 1) *victim = set[way] >> 1;
    }
    for (; way; way--) set[way] = set[way - 1];
    set[0] = tag | modified;
    return hit;
}

/* Whether `line` is next to a line that missed lately, as a prefetcher would have foreseen. */
static bool follows_a_stream(uint64_t line) {
    int found = 0;
    while (found < STREAMS && streams[found] + 1 != line && streams[found] != line + 1) found++;
    bool follows = found < STREAMS;
    for (int i = follows ? found : STREAMS - 1; i; i--) streams[i] = streams[i - 1];
    streams[0] = line;
    return follows;
}

/* A modified line (+ 1, 0 is none) that the level above the last gave up. */
static void write_back(uint64_t *count, uint64_t line) {
    if (line && l3.sets) touch(&l3, line - 1, 1, &line);
    if (line) count[DRAM_WRITES]++;
}

static void miss_l1(uint64_t *count, uint64_t line, uint64_t given_up, bool store) {
    uint64_t victim;
    if (given_up) {
        count[L2_WRITES]++;
        touch(&l2, given_up - 1, 1, &victim);
        write_back(count, victim);
    }
    if (touch(&l2, line, 0, &victim)) {
        count[L2_HITS]++;
        return;
    }
    write_back(count, victim);
    bool follows = follows_a_stream(last_line);
    if (l3.sets) {
        if (touch(&l3, line, 0, &victim)) {
            count[L3_HITS]++;
            return;
        }
        if (victim) count[DRAM_WRITES]++;
    }
    count[DRAM_READS]++;
    if (store) count[STORE_READS]++;
    if (!follows) count[RANDOM]++;
}

/* The number of the line in memory. Where a page lies is a number made of its own (the finalizer of MurmurHash3): any, but the same in every run. */
static inline uint64_t place_of(uint64_t address) {
    uint64_t page = address >> page_bits, place = page;
    place = (place ^ place >> 33) * 0xFF51AFD7ED558CCDull;
    place = (place ^ place >> 33) * 0xC4CEB9FE1A85EC53ull;
    place ^= place >> 33;
    return place >> 28 << (page_bits - 6) | (address & ((1ull << page_bits) - 1)) >> 6;
}

static inline void access_line(struct block *block, uint64_t address, bool store) {
    uint64_t page = address >> page_bits, victim;
    last_line = address >> 6;
    last_place = place_of(address);
    if (page != last_page) {
        last_page = page;
        if (!touch(&tlb, page, 0, &victim)) block->now[TLB_MISSES]++;
    }
    if (!touch(&l1, last_place, store, &victim)) miss_l1(block->now, last_place, victim, store);
}

/* One callback for both: one that asks for stores alone is given all loads as well by QEMU 7.2, which compares its flags shifted by one. */
static void on_access(unsigned cpu, uint32_t info, uint64_t address, void *block) {
    bool store = qemu_plugin_mem_is_store(info);
    others_now |= cpu != region_cpu;
    if (address >> 6 != last_line)
        access_line(block, address, store);
    else if (store) /* it is the last used one of its set */
        l1.tags[(size_t)((uint32_t)last_place % l1.sets) * l1.ways] |= 1;
}

/* ---- the blocks */

/* The block at `address` with these instructions; QEMU may translate one several times, and an address may get new code. */
static struct block *find_block(uint64_t address, const uint8_t *code, size_t size_bytes) {
    struct block **bucket = &buckets[(address / INSTRUCTION_BYTES) % BUCKETS], *block;
    for (block = *bucket; block; block = block->next)
        if (block->address == address && block->size_bytes == size_bytes && !memcmp(block->code, code, size_bytes)) return block;
    block = calloc(1, sizeof *block + size_bytes);
    if (!block) abort();
    block->address = address;
    block->size_bytes = size_bytes;
    block->number = n_blocks++;
    memcpy(block->code, code, size_bytes);
    block->next = *bucket;
    return *bucket = block;
}

static void write_part(const struct block *block) {
    fprintf(slices_file, "part %" PRIu64, block->number);
    for (int k = 0; k < COUNTERS; k++) fprintf(slices_file, " %" PRIu64, block->now[k]);
    fputc('\n', slices_file);
}

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * UINT64_C(1000000000) + now.tv_nsec;
}

/* Adds what was counted since the last time to the regions, as a slice of its own where there are slices. */
static void end_slice(void) {
    if (slices_file) fprintf(slices_file, "slice %" PRIu64 "\n", n_slices++);
    for (int i = 0; i < BUCKETS; i++)
        for (struct block *block = buckets[i]; block; block = block->next) {
            if (!block->now[EXECUTIONS]) continue;
            if (slices_file) write_part(block);
            for (int k = 0; k < COUNTERS; k++) block->regions[k] += block->now[k];
            memset(block->now, 0, sizeof block->now);
        }
    if (slices_file) fprintf(slices_file, "end_ns %" PRIu64 "\n", now_ns());
}

static void begin_region(void) {
    for (int i = 0; i < BUCKETS; i++)
        for (struct block *block = buckets[i]; block; block = block->next) memset(block->now, 0, sizeof block->now);
    if ((slice_by_clock || slice_library) && !slices_file) slices_file = open_memstream(&slices, &slices_bytes);
    in_region = true;
    others_now = false;
}

static void end_region(void) {
    regions++;
    end_slice();
    in_region = false;
    others |= others_now;
}

static void on_entry(unsigned cpu, void *unused) {
    if (in_region) end_slice();
}

static void on_translation(plugin_id id, struct translated_block *translated) {
    uint8_t code[MAX_INSTRUCTIONS * INSTRUCTION_BYTES];
    size_t n = qemu_plugin_tb_n_insns(translated);
    for (size_t i = 0; i < n; i++)
        memcpy(code + i * INSTRUCTION_BYTES, qemu_plugin_insn_data(qemu_plugin_tb_get_insn(translated, i)), INSTRUCTION_BYTES);
    struct block *block = find_block(qemu_plugin_tb_vaddr(translated), code, n * INSTRUCTION_BYTES);
    if (slice_address && qemu_plugin_tb_vaddr(translated) == slice_address)
        qemu_plugin_register_vcpu_tb_exec_cb(translated, on_entry, NO_REGISTERS, NULL);
    qemu_plugin_register_vcpu_tb_exec_inline(translated, ADD_U64, &block->now[EXECUTIONS], 1);
    for (size_t i = 0; i < n && l1.sets; i++) {
        qemu_plugin_register_vcpu_mem_cb(qemu_plugin_tb_get_insn(translated, i), on_access, NO_REGISTERS, LOADS_AND_STORES, block);
    }
}

/* ---- the guest's memory: its addresses are the host's, so that the kernel's own tables tell of it */

static void look_at_peak(void) {
    char line[4096];
    uint64_t start, end, kilobytes, resident = 0;
    bool guest = false;
    FILE *file = fopen("/proc/self/smaps", "r");
    while (file && fgets(line, sizeof line, file)) {
        if (sscanf(line, "Rss: %" SCNu64, &kilobytes) == 1)
            resident += guest ? kilobytes * 1024 : 0;
        else if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &start, &end) == 2)
            guest = start < GUEST_END;
    }
    if (file) fclose(file);
    if (resident > peak_bytes) peak_bytes = resident;
}

/* Keeps which file is where, for the names of functions. */
static void copy_maps(void) {
    char line[4096];
    size_t size;
    FILE *from = fopen("/proc/self/maps", "r"), *to;
    free(maps);
    maps = NULL;
    to = open_memstream(&maps, &size);
    while (from && to && fgets(line, sizeof line, from))
        if (strtoull(line, NULL, 16) < GUEST_END && strchr(line, '/')) fprintf(to, "map %s", line);
    if (from) fclose(from);
    if (to) fclose(to);
}

/* Where the function is loaded whose entry begins a slice. */
static void find_slice_address(void) {
    char line[4096];
    uint64_t start, end, offset;
    FILE *file = slice_library ? fopen("/proc/self/maps", "r") : NULL;
    while (file && fgets(line, sizeof line, file)) {
        char *name = strrchr(line, '/');
        if (!name || sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %" SCNx64, &start, &end, &offset) != 3) continue;
        name[strcspn(name, "\n")] = 0;
        if (!strcmp(name + 1, slice_library) && start < GUEST_END && offset <= slice_offset && slice_offset - offset < end - start)
            slice_address = start + slice_offset - offset;
    }
    if (file) fclose(file);
}

/* ---- the program's marks */

static void on_syscall(plugin_id, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);
static void on_exit_of_guest(plugin_id, void *);

static void listen(plugin_id id) {
    qemu_plugin_register_vcpu_syscall_cb(id, on_syscall);
    qemu_plugin_register_atexit_cb(id, on_exit_of_guest, NULL);
}

static void instrument(plugin_id id) {
    listen(id);
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
}

static void on_mark(plugin_id id, unsigned cpu, int code) {
    if (code == BEGIN) region_cpu = cpu;
    if (!instrumented) find_slice_address();
    if (!instrumented) qemu_plugin_reset(id, instrument); /* drops all that was translated, before the next block runs */
    instrumented = true;
    if (code == BEGIN) begin_region();
    if (code == END) end_region(), copy_maps();
    look_at_peak();
}

static void on_syscall(plugin_id id, unsigned cpu, int64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e,
                       uint64_t f, uint64_t g, uint64_t h) {
    if (number == GETPGID && (a & 0xffffff00u) == MARK) on_mark(id, cpu, a & 0xff);
    if (number == CLOCK_GETTIME && slice_by_clock && in_region) end_slice();
    if (number == EXIT_GROUP || (number == MUNMAP && b >= LARGE)) look_at_peak();
}

/* ---- the output */

static void write_block(FILE *file, const struct block *block) {
    fprintf(file, "block %" PRIu64 " %" PRIx64, block->number, block->address);
    for (int k = 0; k < COUNTERS; k++) fprintf(file, " %" PRIu64, block->regions[k]);
    fputc(' ', file);
    for (size_t i = 0; i < block->size_bytes; i++) fprintf(file, "%02x", block->code[i]);
    fputc('\n', file);
}

static void on_exit_of_guest(plugin_id id, void *unused) {
    FILE *file = fopen(out_path, "w");
    if (!file) return; /* whoever reads it says that it is missing */
    fprintf(file, "regions %" PRIu64 "\npeak_bytes %" PRIu64 "\nother_threads %d\n%s", regions, peak_bytes, others, maps ? maps : "");
    for (int i = 0; i < BUCKETS; i++)
        for (struct block *block = buckets[i]; block; block = block->next)
            if (block->regions[EXECUTIONS]) write_block(file, block);
    if (slices_file) fclose(slices_file), fputs(slices, file);
    fclose(file);
}

/* ---- the start */

/* Makes a cache of `entries`, `ways` of them in a set. */
static void make(struct cache *cache, uint64_t entries, uint32_t ways) {
    cache->ways = ways;
    cache->sets = entries / ways;
    cache->tags = calloc(entries, sizeof *cache->tags);
    if (!cache->tags) abort();
}

static bool take_slices(char *value) {
    char *library = strchr(value, ':');
    slice_by_clock = !strcmp(value, "clock");
    if (slice_by_clock) return true;
    if (!library) return false;
    slice_offset = strtoull(value, NULL, 10);
    return (slice_library = strdup(library + 1)) != NULL;
}

static bool take_argument(char *argument) {
    static const struct { const char *name; struct cache *cache; } caches[] = {{"l1", &l1}, {"l2", &l2}, {"l3", &l3}};
    char *value = strchr(argument, '=');
    uint64_t size_bytes;
    uint32_t ways;
    if (!value) return false;
    *value++ = 0;
    if (!strcmp(argument, "out")) return (out_path = strdup(value)) != NULL;
    if (!strcmp(argument, "slices")) return take_slices(value);
    if (!strcmp(argument, "page")) return page_bits = __builtin_ctzll(strtoull(value, NULL, 10)), page_bits >= 12 && page_bits <= 16;
    if (!strcmp(argument, "tlb")) return make(&tlb, strtoull(value, NULL, 10), 4), tlb.sets;
    for (int i = 0; i < 3; i++)
        if (!strcmp(argument, caches[i].name) && sscanf(value, "%" SCNu64 ":%u", &size_bytes, &ways) == 2 && ways)
            return make(caches[i].cache, size_bytes / 64, ways), caches[i].cache->sets;
    return false;
}

__attribute__((visibility("default"))) int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv) {
    for (int i = 0; i < argc; i++)
        if (!take_argument(argv[i])) return fprintf(stderr, "unusable plugin argument %s\n", argv[i]), 1;
    if (!out_path || (l1.sets && !(l2.sets && tlb.sets))) return fputs("the plugin needs out, and with l1 also l2 and tlb\n", stderr), 1;
    listen(id);
    return 0;
}
