package wire

import "example.com/internal/domain/errs"

func some() map[errs.Code]string { return map[errs.Code]string{errs.NotFound: table()[errs.NotFound]} }
