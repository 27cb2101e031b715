package layer

import "context"

// OpenUploads says how many uploads have been started and neither finished nor
// given up, in the whole deployment.
func (s *Service) OpenUploads(ctx context.Context) (int64, error) { return s.uploads.Open(ctx) }
