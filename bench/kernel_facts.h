/* kernel_facts.h - what the prediction (gpu_model.c) knows of the kernels that stand in cuda/ and
 * of an H200: every number that changes when a kernel does is here and nowhere else. Registers are
 * those of cuda/resources.txt (sm_90a), instructions those on top of the kernels' files. Tiles and
 * splits are no facts: the model asks linear_plan.c. */
#ifndef TERN_BENCH_KERNEL_FACTS_H
#define TERN_BENCH_KERNEL_FACTS_H

#include "cuda/linear_plan.h"

/* A kernel of LINEAR with dp4a or mma.sync. A warp's step is one block of 128 columns of all its
 * row groups. */
typedef struct linear_facts {
    int warps, registers;      /* of a CTA; of a thread */
    int smem_bytes;            /* of a CTA */
    int flight_bytes;          /* under way for a CTA while it waits */
    int groups;                /* of 16 rows, of a warp */
    int instructions, mma;     /* of a warp's step */
} linear_facts;

/* GEMV, MMA_8 and MMA_64 are counted (their files); 16 and 32 follow from those by their mma and
 * ldmatrix, the wide tile does what MMA_64 does. */
static const linear_facts linear_facts_of[TERN_LINEAR_WGMMA_16] = {
    [TERN_LINEAR_GEMV] = {8, 46, 20996, 15360, 1, 68, 0},
    [TERN_LINEAR_MMA_8] = {4, 98, 51216, 38400, 4, 226, 16},
    [TERN_LINEAR_MMA_16] = {4, 120, 51216, 38400, 4, 244, 32},
    [TERN_LINEAR_MMA_32] = {4, 116, 34832, 26112, 2, 195, 32},
    [TERN_LINEAR_MMA_64] = {4, 198, 53264, 39936, 2, 235, 64},
    [TERN_LINEAR_MMA_64_WIDE] = {8, 182, 52240, 34816, 2, 235, 64},
};

/* LINEAR by wgmma (linear_wgmma.cu). A stage of a warpgroup, 128 rows and columns, takes the longer
 * of its wgmma and of what runs beside them: its instructions, a scheduler has one warp of each
 * warpgroup, and its chain of waits. */
#define WGMMA_ROWS 128             /* of a warpgroup */
#define WGMMA_RESIDENT 2           /* warpgroups of an SM */
#define WGMMA_TOKEN_CLOCKS 4.0     /* of the tensor cores, a token */
#define WGMMA_INSTRUCTIONS 190.0   /* of a warp that fetches, for a stage */
#define WGMMA_CHAIN_CLOCKS 250.0   /* assumed: from one stage to the next, where wgmma are short */
#define WGMMA_EXCHANGE_CLOCKS 1000.0 /* assumed: of a cluster, without its bytes */
#define WGMMA_PEER_BYTES 14.0      /* C: of other SMs' shared memory, a clock and SM */

/* A step: kernels of a layer (4 norms, 4 LINEARs, RoPE, attention, activation), its merge where
 * attention is split, kernels around the layers (embed, head quant, head, select, pick). */
#define LAYER_KERNELS 11
#define OUTER_KERNELS 5
#define STEP_IN_GRAPH 1        /* 1: launches cost the host nothing */
#define ROW_KERNEL_NS 1500.0   /* assumed: of a norm, RoPE or activation without its bytes */

/* Attention: warp instructions for one query head and a block of 64 positions, hd 128 (attn.cu). */
#define ATTN_DECODE_F16 1050.0
#define ATTN_DECODE_I8 350.0
#define ATTN_PREFILL_F16 853.0 /* 512 FFMA at the 60 % of attn.cu */
#define ATTN_PREFILL_I8 350.0

/* The device. Sources: P PEERS 2, D data sheet, C common measurements of the architecture. */
#define GPU_SM 132
#define GPU_CLOCK_HZ 1.83e9        /* D: at which the data sheet's rates hold */
#define GPU_READ_BYTES 4.3e12      /* P: measured copy */
#define GPU_L2_BYTES 5.5e12        /* C */
#define GPU_LATENCY_NS 900.0       /* P: of memory under load */
#define GPU_GAP_NS 1300.0          /* P: 6-7.5 us for the five dependencies of a layer */
#define GPU_HOST_LAUNCH_NS 2200.0  /* C: of a plain launch */
#define GPU_EXCHANGE_NS 1500.0     /* C: partial sums of a split through L2, with the ticket */
#define GPU_CLUSTER_NS 500.0       /* assumed: the same inside a cluster, through shared memory */
#define GPU_ISSUE 4.0              /* warp instructions of an SM a clock */
#define GPU_REACH 0.8              /* assumed: of issue slots and tensor cores in a good loop */
#define GPU_MMA_CLOCKS 1.6         /* C: of an SM for one mma.m16n8k32 */
#define GPU_SMEM_BYTES (227 * 1024)
#define GPU_REGISTERS 65536
#define GPU_WARPS 64

/* The baseline at its own limit, which favours it. */
#define CUBLAS_F16_FLOPS (989e12 * 0.75)
#define CUBLAS_INT8_OPS (1979e12 * 0.65) /* P: 987 TOPS of an H100 PCIe's 1513 */

#endif
