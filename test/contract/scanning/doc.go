// Package scanning tests image scanning from outside: the built binary with databases
// that the tests make, images that the tests push, and findings as the AWS CLI, the AWS
// SDK, docker and skopeo see them.
//
// Which advisory fits which package, and how package lists are read, is tested where
// that is done (domain/scan); images that attack the scanner are in the package hostile.
// It holds tests only; README.md says which test shows what.
package scanning
