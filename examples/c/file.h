/* Files that are read as a whole. */

#ifndef FILE_H
#define FILE_H

#include <stddef.h>

/* Reads a file and ends it with a NUL, so that a header in it can be searched; NULL if it cannot be read. */
unsigned char *file_read(const char *path, size_t *len);

#endif
