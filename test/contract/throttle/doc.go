// Package throttle tests what real clients do when they ask for more than they
// may: the AWS SDK, crane and docker under low request rates, patient and
// exhausted, and pushes while the disk keeps its last bytes.
//
// It holds tests only. How rates are counted and shared is tested in
// internal/domain/quota.
package throttle
