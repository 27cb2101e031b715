//go:build race

package worker

// underRace says that the race detector is in this binary, which takes more memory than
// any limit leaves.
const underRace = true
