/* emu_graph.cpp - graphs: launches that a stream recorded instead of doing them, queued again at
 * each launch of the graph. As in the runtime, a graph begins when what is before it in the stream
 * has ended: its first kernel is no dependent. */
#include <stdlib.h>
#include <string.h>

#include "emu_queue.h"

namespace tern_emu_rt {

static unsigned long n_launches;

static emu_graph *graph_new(void)
{
    emu_graph *graph = (emu_graph *)calloc(1, sizeof *graph);
    if (graph) graph->tail = &graph->head;
    return graph;
}

static void graph_free(emu_graph *graph)
{
    while (graph->head) {
        emu_item *item = graph->head;
        graph->head = item->next;
        emu_item_recycle(item);
    }
    free(graph);
}

static emu_item *copy_of(const emu_item *item)
{
    emu_item *copy = emu_item_new(ITEM_LAUNCH);
    if (!copy) return nullptr;
    memcpy(copy->bytes, item->bytes, sizeof copy->bytes);
    copy->launch = item->launch;
    copy->launch.args = copy->bytes;
    return copy;
}

bool emu_breaks_capture(emu_stream *stream)
{
    if (stream->capture) stream->capture->broken = true;
    return stream->capture != nullptr;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode)
{
    EMU_LOCKED;
    if (!stream || emu_breaks_capture(stream)) return emu_result(cudaErrorStreamCaptureUnsupported);
    if (stream->device->error != cudaSuccess) return emu_result(stream->device->error);
    stream->capture = graph_new();
    return emu_result(stream->capture ? cudaSuccess : cudaErrorMemoryAllocation);
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *out)
{
    EMU_LOCKED;
    *out = nullptr;
    if (!stream || !stream->capture) return emu_result(cudaErrorInvalidValue);
    emu_graph *graph = stream->capture;
    stream->capture = nullptr;
    if (graph->broken || emu_fault_strikes(TERN_EMU_CAPTURE_FAILS)) {
        graph_free(graph);
        return emu_result(cudaErrorStreamCaptureInvalidated);
    }
    *out = graph;
    return cudaSuccess;
}

/* It takes device memory on a GPU: tests may have it fail. */
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *out, cudaGraph_t graph, unsigned long long)
{
    EMU_LOCKED;
    if (!graph) return emu_result(cudaErrorInvalidValue);
    emu_graph *made = emu_fault_strikes(TERN_EMU_ALLOC_FAILS) ? nullptr : graph_new();
    if (!made) return emu_result(cudaErrorMemoryAllocation);
    for (const emu_item *item = graph->head; item; item = item->next) {
        emu_item *copy = copy_of(item);
        if (!copy) {
            graph_free(made);
            return emu_result(cudaErrorMemoryAllocation);
        }
        if (!made->head) copy->launch.dependent = false;
        *made->tail = copy;
        made->tail = &copy->next;
    }
    *out = made;
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t stream)
{
    EMU_LOCKED;
    if (!graph || !stream) return emu_result(cudaErrorInvalidValue);
    if (emu_breaks_capture(stream)) return emu_result(cudaErrorStreamCaptureUnsupported);
    if (stream->device->error != cudaSuccess) return emu_result(stream->device->error);
    n_launches++;
    for (const emu_item *item = graph->head; item; item = item->next) {
        emu_item *copy = copy_of(item);
        if (!copy) return emu_result(cudaErrorMemoryAllocation);
        emu_append(stream, copy);
    }
    return cudaSuccess;
}

static cudaError_t destroy(emu_graph *graph)
{
    EMU_LOCKED;
    if (!graph) return emu_result(cudaErrorInvalidValue);
    graph_free(graph);
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    return destroy(graph);
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph)
{
    return destroy(graph);
}

} /* namespace tern_emu_rt */

using namespace tern_emu_rt;

unsigned long tern_emu_graph_launches(void)
{
    EMU_LOCKED;
    return n_launches;
}
