// Package shape is what the generated shapes stand on: the timestamp of the AWS
// protocols, and Check, which holds a request against the limits of its service
// model and words the failures as AWS does.
//
// It does not own the shapes (shapes_gen.go of each service, written by
// tools/shapegen) and not their bytes on the wire (json11, query).
package shape
