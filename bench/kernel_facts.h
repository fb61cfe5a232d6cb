/* kernel_facts.h - what the prediction (gpu_model.c) knows of the kernels that stand in cuda/ and
 * of an H200: every number that changes when a kernel does is here and nowhere else. Registers are
 * those of cuda/resources.txt (sm_90a), instructions those on top of the kernels' files. Tiles and
 * splits are no facts: the model asks linear_plan.c. */
#ifndef TERN_BENCH_KERNEL_FACTS_H
#define TERN_BENCH_KERNEL_FACTS_H

#include "cuda/linear_plan.h"

/* A kernel of LINEAR with mma.sync. A warp's step is one block of 128 columns of all its
 * row groups. */
typedef struct linear_facts {
    int warps, registers;      /* of a CTA; of a thread */
    int smem_bytes;            /* of a CTA */
    int flight_bytes;          /* under way for a CTA while it waits */
    int groups;                /* of 16 rows, of a warp */
    int instructions, mma;     /* of a warp's step */
} linear_facts;

/* MMA_8 and MMA_64 are counted (their files); 16 and 32 follow from those by their mma and
 * ldmatrix, the wide tile does what MMA_64 does. */
static const linear_facts linear_facts_of[TERN_LINEAR_WGMMA_16] = {
    [TERN_LINEAR_MMA_8] = {4, 98, 51216, 38400, 4, 226, 16},
    [TERN_LINEAR_MMA_16] = {4, 120, 51216, 38400, 4, 244, 32},
    [TERN_LINEAR_MMA_32] = {4, 116, 34832, 26112, 2, 195, 32},
    [TERN_LINEAR_MMA_64] = {4, 198, 53264, 39936, 2, 235, 64},
    [TERN_LINEAR_MMA_64_WIDE] = {8, 182, 52240, 34816, 2, 235, 64},
};

/* LINEAR of one token (gemv.cuh): a CTA an SM, GEMV_WARPS warps. Its codes are under way before the
 * kernel before it has ended, as far as the rings hold them. */
#define GEMV_BLOCK_INSTRUCTIONS 64.0 /* of a warp, for 16 rows x 128 columns */
#define GEMV_FLIGHT_BYTES 61440.0    /* of an SM */
#define GEMV_Q_NS 300.0              /* assumed: q from L2 to shared memory, behind the wait */

/* NORM_QUANT as its prologue (linear_fused.cu), behind the wait. */
#define PROLOGUE_NS 300.0            /* assumed: latency of L2, two barriers, trees, divisions */
#define PROLOGUE_L2_BYTES 24.0       /* assumed: a clock and SM, of x */
#define PROLOGUE_INSTRUCTIONS 12.0   /* of a thread, a value: scan 4, quantisation 8 */

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

/* A step: kernels of a layer (4 norms, 4 LINEARs, RoPE, attention, activation; the merge where
 * attention is split), and of one token (4 LINEARs, attention); row kernels among them; kernels
 * around the layers (embed, head quant, head, select, pick), with one token the last layer's RoPE
 * and merge. */
#define LAYER_KERNELS 11
#define LAYER_KERNELS_FUSED 5
#define LAYER_ROW_KERNELS 6
#define OUTER_KERNELS 5
#define OUTER_KERNELS_FUSED 7
#define STEP_IN_GRAPH 1        /* 1: launches cost the host nothing */
#define ROW_KERNEL_NS 1500.0   /* assumed: of a norm, RoPE or activation without its bytes */

/* Attention of one token (attn.cu): q rotated, k and v stored before the last block is asked for;
 * then the states of up to eight blocks folded. */
#define ATTN_ROPE_NS 400.0 /* assumed */
#define ATTN_FOLD_NS 400.0 /* assumed: of eight blocks */

/* Attention: warp instructions for one query head and a block of 64 positions, hd 128, counted
 * along the usual path of the machine code (attn.cu, attn_mma.cuh). */
#define ATTN_DECODE_F16 1990.0
#define ATTN_DECODE_I8 1160.0
#define ATTN_PREFILL_F16 1350.0
#define ATTN_PREFILL_I8 305.0

/* The device. Sources: P PEERS 2, D data sheet, C common measurements of the architecture. */
#define GPU_SM 132
#define GPU_CLOCK_HZ 1.83e9        /* D: at which the data sheet's rates hold */
#define GPU_READ_BYTES 4.3e12      /* P: measured copy */
#define GPU_L2_BYTES 5.5e12        /* C */
#define GPU_LATENCY_NS 900.0       /* P: of memory under load */
#define GPU_GAP_NS 1300.0          /* P: 6-7.5 us for the five dependencies of a layer */
#define GPU_HOST_LAUNCH_NS 2200.0  /* C: of a plain launch */
#define GPU_CLUSTER_NS 500.0       /* assumed: partial sums of a split, from shared memory */
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
