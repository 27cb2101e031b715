// Package ecrpublic is the edge of the Amazon ECR Public API: its shapes,
// generated from the service model. No operation is built yet.
//
// It does not own the protocol (internal/api/aws) nor what the operations mean
// (internal/domain).
package ecrpublic
