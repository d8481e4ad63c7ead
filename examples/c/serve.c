/*
 * Serves a stack of factorised layers from several threads, as an engine does: each layer is packed once, and every
 * thread sends its own vectors through all of them.
 *
 *     cc -std=c99 serve.c file.c $(pkg-config --cflags --libs armor) -pthread -o serve
 *     ./serve 4 1000 up.safetensors:up down.safetensors:down
 *
 * runs 4 threads with 1000 requests each through the layers `up` and `down`, files that armor_factorization_serialize or
 * a job wrote. Between two layers stands max(0, x). All threads begin with the same vectors, so they must end with the
 * same bits.
 */

#define _POSIX_C_SOURCE 200809L

#include <armor.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "file.h"

enum { BATCH = 8, MOST_LAYERS = 64, MOST_THREADS = 256 };

static struct {
    armor_packed *layers[MOST_LAYERS];
    armor_packed_sizes sizes[MOST_LAYERS];
    size_t count;
    size_t widest;   /* of all inputs and outputs */
    size_t scratch;  /* floats that any of the layers needs for a batch */
    size_t requests; /* of each thread */
} engine;

struct client {
    pthread_t thread;
    float *outputs; /* of its last request */
    int failed;
};

static int fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, armor_last_error_message());
    return -1;
}

/* Reads and packs FILE:NAME. The packed layer needs neither the file nor the factorisation. */
static int load(const char *argument) {
    const uint32_t bf16 = ARMOR_DTYPE_BF16;
    const char *name = strrchr(argument, ':');
    char *path = strdup(argument);
    armor_factorization *factors = NULL;
    armor_packed_sizes *sizes = &engine.sizes[engine.count];
    armor_packed **layer = &engine.layers[engine.count];
    unsigned char *bytes = NULL;
    size_t len = 0, scratch = 0;
    int status = -1;
    if (name == NULL || path == NULL || engine.count == MOST_LAYERS) {
        fprintf(stderr, "%s: expected FILE:NAME, for at most %d layers\n", argument, MOST_LAYERS);
        free(path);
        return -1;
    }
    path[name - argument] = 0;
    bytes = file_read(path, &len);
    sizes->struct_size = sizeof *sizes;
    if (bytes == NULL) {
        fprintf(stderr, "%s: cannot be read\n", path);
    } else if (armor_factorization_deserialize(bytes, len, name + 1, &factors) != ARMOR_OK ||
               /* 1: products run on the thread that asks for them. */
               armor_packed_create(factors, bf16, bf16, bf16, 1, layer) != ARMOR_OK ||
               armor_packed_get_sizes(*layer, sizes) != ARMOR_OK ||
               armor_packed_scratch_len(*layer, BATCH, &scratch) != ARMOR_OK) {
        fail(argument);
    } else if (engine.count > 0 && sizes->cols != engine.sizes[engine.count - 1].rows) {
        fprintf(stderr, "%s: has %zu inputs, and the layer before it %zu outputs\n", argument, sizes->cols,
                engine.sizes[engine.count - 1].rows);
    } else {
        engine.widest = sizes->cols > engine.widest ? sizes->cols : engine.widest;
        engine.widest = sizes->rows > engine.widest ? sizes->rows : engine.widest;
        engine.scratch = scratch > engine.scratch ? scratch : engine.scratch;
        engine.count++;
        status = 0;
    }
    armor_factorization_free(factors);
    free(bytes);
    free(path);
    return status;
}

/* Sends a batch through all layers: x has the inputs of the first, y the outputs of the last. */
static int request(float *x, float *y, float *scratch) {
    size_t index, entry;
    for (index = 0; index < engine.count; index++) {
        const armor_packed_sizes *sizes = &engine.sizes[index];
        const armor_matrix inputs = {x, BATCH, sizes->cols, sizes->cols, ARMOR_DTYPE_F32};
        const size_t outputs = BATCH * sizes->rows;
        if (armor_packed_apply_batch(engine.layers[index], &inputs, y, sizes->rows, outputs, scratch,
                                     engine.scratch) != ARMOR_OK) {
            return fail("product");
        }
        for (entry = 0; index + 1 < engine.count && entry < outputs; entry++) {
            x[entry] = y[entry] > 0 ? y[entry] : 0;
        }
    }
    return 0;
}

static void *serve(void *argument) {
    struct client *client = argument;
    const size_t inputs = BATCH * engine.sizes[0].cols;
    float *x = malloc(BATCH * engine.widest * sizeof *x);
    float *scratch = malloc(engine.scratch * sizeof *scratch); /* calls at the same time do not share it */
    size_t number, entry;
    client->outputs = malloc(BATCH * engine.widest * sizeof *x);
    client->failed = x == NULL || scratch == NULL || client->outputs == NULL;
    for (number = 0; !client->failed && number < engine.requests; number++) {
        for (entry = 0; entry < inputs; entry++) {
            x[entry] = (float)((number + 7 * entry) % 23) / 11 - 1;
        }
        client->failed = request(x, client->outputs, scratch) != 0;
    }
    free(scratch);
    free(x);
    return NULL;
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

int main(int argc, char **argv) {
    static struct client clients[MOST_THREADS];
    size_t threads = argc > 3 ? strtoul(argv[1], NULL, 10) : 0, index, bytes = 0, outputs;
    int argument, failed = 0;
    double start;
    engine.requests = argc > 3 ? strtoul(argv[2], NULL, 10) : 0;
    if (threads == 0 || threads > MOST_THREADS || engine.requests == 0) {
        fprintf(stderr, "usage: %s THREADS REQUESTS FILE:NAME...\n", argv[0]);
        return EXIT_FAILURE;
    }
    for (argument = 3; argument < argc; argument++) {
        if (load(argv[argument]) != 0) {
            return EXIT_FAILURE;
        }
        bytes += engine.sizes[argument - 3].bytes;
    }
    start = seconds();
    for (index = 0; index < threads; index++) {
        if (pthread_create(&clients[index].thread, NULL, serve, &clients[index]) != 0) {
            fprintf(stderr, "thread %zu cannot be started\n", index);
            return EXIT_FAILURE;
        }
    }
    for (index = 0; index < threads; index++) {
        pthread_join(clients[index].thread, NULL);
        failed |= clients[index].failed;
    }
    outputs = BATCH * engine.sizes[engine.count - 1].rows * sizeof(float);
    for (index = 1; !failed && index < threads; index++) {
        if (memcmp(clients[0].outputs, clients[index].outputs, outputs) != 0) {
            fprintf(stderr, "thread %zu has other outputs than thread 0\n", index);
            failed = 1;
        }
    }
    if (!failed) {
        printf("%zu layers, %zu bytes packed, %zu threads, all with the same outputs: %.0f vectors a second\n",
               engine.count, bytes, threads, (double)(threads * engine.requests * BATCH) / (seconds() - start));
    }
    for (index = 0; index < threads; index++) {
        free(clients[index].outputs);
    }
    for (index = 0; index < engine.count; index++) {
        armor_packed_free(engine.layers[index]);
    }
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
