// Command hungry takes memory within limits of confine: a program of its own, because
// the race detector, which may be in the tests, takes more than any limit leaves.
package main

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/berth-registry/berth/internal/infra/confine"
)

func main() {
	limit, err := strconv.ParseInt(os.Args[2], 10, 64)
	if err == nil {
		err = confine.Enter(confine.Limits{Memory: limit})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	switch os.Args[1] {
	case "garbage": // sixteen times the limit, most of it garbage
		var kept [8][]byte
		for i := range int64(16 * 64) {
			b := make([]byte, limit/64)
			for j := 0; j < len(b); j += 4096 {
				b[j] = 1
			}
			kept[i%8] = b
		}
		fmt.Println("done", len(kept))
	case "keep":
		var kept [][]byte
		for {
			b := make([]byte, 1<<20)
			for j := 0; j < len(b); j += 4096 {
				b[j] = 1
			}
			kept = append(kept, b)
			if int64(len(kept))<<20 > 2*limit {
				fmt.Println("kept twice the limit", len(kept))
				return
			}
		}
	case "map":
		for _, kind := range []int{unix.MAP_PRIVATE, unix.MAP_SHARED, unix.MAP_SHARED_VALIDATE} {
			b, err := unix.Mmap(-1, 0, int(2*limit), unix.PROT_READ|unix.PROT_WRITE, kind|unix.MAP_ANONYMOUS)
			if err == nil {
				b[0] = 1
				fmt.Println("mapped", kind)
			}
		}
		fmt.Println("done")
	}
}
