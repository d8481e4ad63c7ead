#include "file.h"

#include <stdio.h>
#include <stdlib.h>

unsigned char *file_read(const char *path, size_t *len) {
    FILE *file = fopen(path, "rb");
    unsigned char *bytes = NULL;
    long size;
    if (file != NULL && fseek(file, 0, SEEK_END) == 0 && (size = ftell(file)) >= 0) {
        rewind(file);
        *len = (size_t)size;
        bytes = malloc(*len + 1);
        if (bytes != NULL && fread(bytes, 1, *len, file) != *len) {
            free(bytes);
            bytes = NULL;
        }
        if (bytes != NULL) {
            bytes[*len] = 0;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return bytes;
}
