// Package wire is an edge.
package wire

import "example.com/internal/domain/errs"

func complete(c errs.Code) string {
	switch c {
	case errs.Internal:
		return "ServerException"
	case errs.NotFound:
		return "NotFoundException"
	}
	return ""
}

func withDefault(c errs.Code) string {
	switch c {
	case errs.NotFound:
		return "NotFoundException"
	default: // want `default in a switch over failure codes`
		return "ServerException"
	}
}

func table() map[errs.Code]string {
	return map[errs.Code]string{errs.NotFound: "NotFoundException"} // want `map from failure codes`
}

func number(n int) string {
	switch n {
	case 1:
		return "one"
	default:
		return map[int]string{2: "two"}[n]
	}
}
