// Package backup backs up running servers and restores them elsewhere, from one
// shape of storage to another, and kills both commands in the middle.
//
// The forms of a backup and what damage it shows are internal/app/backup's.
package backup
