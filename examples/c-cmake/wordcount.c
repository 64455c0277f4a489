/* Counts the words of standard input. */
#include <ctype.h>
#include <stdio.h>

int main(void) {
    long words = 0;
    int c, inside = 0;
    while ((c = getchar()) != EOF) {
        int is_word = !isspace(c);
        words += is_word && !inside;
        inside = is_word;
    }
    printf("%ld\n", words);
    return 0;
}
