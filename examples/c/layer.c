#include "layer.h"

#include "file.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Finds a matrix of a type whose entries take size bytes; NULL unless the header tells of one that is in the file. */
static const void *find(const unsigned char *file, size_t len, const char *name, const char *dtype, size_t size,
                        size_t shape[2]) {
    char key[320];
    const char *entry;
    uint64_t header = 0;
    unsigned long long rows, cols, start, end;
    int i;
    for (i = 7; i >= 0; i--) {
        header = header << 8 | file[i];
    }
    snprintf(key, sizeof key, "\"%s\":{\"dtype\":\"%s\",\"shape\":[", name, dtype);
    entry = strstr((const char *)file + 8, key);
    if (header > len - 8 || entry == NULL ||
        sscanf(entry + strlen(key), "%llu,%llu],\"data_offsets\":[%llu,%llu]", &rows, &cols, &start, &end) != 4) {
        return NULL;
    }
    if (start > end || end > len - 8 - header || cols == 0 || rows != (end - start) / size / cols ||
        (header + start) % size != 0) {
        return NULL;
    }
    shape[0] = (size_t)rows;
    shape[1] = (size_t)cols;
    return file + 8 + header + start;
}

int layer_read(const char *path, struct layer *out) {
    size_t len = 0, square[2], shape[2];
    const char *end, *start;
    char hessian[sizeof out->name + 8];
    out->file = file_read(path, &len);
    if (out->file == NULL || len < 8) {
        fprintf(stderr, "%s: cannot be read\n", path);
        layer_free(out);
        return -1;
    }
    end = strstr((const char *)out->file + 8, ".weight\":");
    for (start = end; start != NULL && start[-1] != '"'; start--) {
    }
    if (end == NULL || (size_t)(end - start) >= sizeof out->name - 8) {
        fprintf(stderr, "%s: no tensor is named *.weight\n", path);
        layer_free(out);
        return -1;
    }
    sprintf(out->name, "%.*s.weight", (int)(end - start), start);
    sprintf(hessian, "%.*s.hessian", (int)(end - start), start);
    out->weight = find(out->file, len, out->name, "F16", 2, shape);
    out->hessian = find(out->file, len, hessian, "F32", 4, square);
    if (out->weight == NULL || out->hessian == NULL || square[0] != shape[1] || square[1] != shape[1]) {
        fprintf(stderr, "%s: expected %s in F16 and %s in F32\n", path, out->name, hessian);
        layer_free(out);
        return -1;
    }
    out->rows = shape[0];
    out->cols = shape[1];
    return 0;
}

void layer_free(struct layer *layer) {
    free(layer->file);
    layer->file = NULL;
}
