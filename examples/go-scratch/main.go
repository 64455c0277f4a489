// A page that says which version answers.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
)

var version string

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello, version %s, user %d\n", version, os.Getuid())
	})
	log.Fatal(http.ListenAndServe(":8080", nil))
}
