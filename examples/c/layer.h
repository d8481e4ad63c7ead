/* A layer in a safetensors file: its f16 weight and its f32 Hessian, k x k. As much of the format as that needs. */

#ifndef LAYER_H
#define LAYER_H

#include <stddef.h>

struct layer {
    unsigned char *file;
    /* The weight's name in the file. */
    char name[256];
    /* Both lie in the file. */
    const void *weight, *hessian;
    size_t rows, cols;
};

/* Reads the only tensor named *.weight and its *.hessian; returns 0, or says on stderr what is wrong and returns -1. */
int layer_read(const char *path, struct layer *out);

void layer_free(struct layer *layer);

#endif
