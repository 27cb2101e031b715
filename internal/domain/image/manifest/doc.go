// Package manifest reads, checks and translates image manifests. It is pure:
// bytes in, values or a refusal out; no clock, no database, no logger.
//
// It knows docker schema 1 (plain and signed), docker schema 2 and manifest
// lists, OCI images and indexes, and the ORAS artifact manifest.
//
// It does not know whether what a manifest names is there, nor where manifests
// are kept; that is domain/image. Which HTTP header carries a media type is the
// edges' business.
package manifest
