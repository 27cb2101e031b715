// Package resident gives memory back that only the start of the process has needed: the
// runtime's, and the pages of the program itself that were read for it, which are two thirds
// of them. What is needed again comes from the page cache, some pages at a time.
package resident

import (
	"bufio"
	"fmt"
	"io"
	"runtime/debug"
	"strconv"
	"strings"
)

// Release gives back what is not needed. It takes some milliseconds, and needs nothing to
// be still. Its error is for the log: the process goes on as it is.
func Release() error {
	debug.FreeOSMemory()
	return ReleaseProgram()
}

// ReleaseProgram gives back the pages of the program itself. Those that are in use are there
// again as soon as they are needed, at the price of a page fault for each sixteen of them.
// A program that does not run at a fixed address keeps its pages.
func ReleaseProgram() error { return releaseProgram() }

// span is a part of the address space.
type span struct{ from, to uintptr }

// constant finds the mappings of a file in the process's memory map (proc(5),
// /proc/pid/maps) that the process cannot write to. Such pages hold what the file holds.
func constant(maps io.Reader, file string) ([]span, error) {
	var all []span
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		// address perms offset dev inode, and the path behind blanks
		f := strings.Fields(lines.Text())
		if len(f) < 6 || strings.Join(f[5:], " ") != file || len(f[1]) != 4 || f[1][1] == 'w' || f[1][0] != 'r' {
			continue
		}
		from, to, _ := strings.Cut(f[0], "-")
		a, err := strconv.ParseUint(from, 16, 64)
		if err != nil {
			return nil, fmt.Errorf("the memory map has the line %q: %w", lines.Text(), err)
		}
		b, err := strconv.ParseUint(to, 16, 64)
		if err != nil {
			return nil, fmt.Errorf("the memory map has the line %q: %w", lines.Text(), err)
		}
		all = append(all, span{uintptr(a), uintptr(b)})
	}
	return all, lines.Err()
}
