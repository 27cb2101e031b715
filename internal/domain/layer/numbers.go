package layer

import "context"

// OpenUploads says how many uploads have been started and neither finished nor
// given up, in the whole deployment.
func (s *Service) OpenUploads(ctx context.Context) (int64, error) { return s.uploads.Open(ctx) }

// SaveUploads writes what is known in memory alone of uploads that were begun, for a
// process that ends.
func (s *Service) SaveUploads(ctx context.Context) error { return s.uploads.Save(ctx) }
