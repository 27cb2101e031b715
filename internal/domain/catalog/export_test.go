package catalog

import "testing"

// Decode has as many logos be decoded as can be at once, until the returned function is
// called.
func (s *Service) Decode(t *testing.T) (done func()) {
	t.Helper()
	for range maxDecoding {
		s.decoding <- struct{}{}
	}
	return func() {
		for range maxDecoding {
			<-s.decoding
		}
	}
}
