package collect

import "time"

// Held is a hold that was begun by somebody else, or before this process began,
// to be extended by life or released. Both are ErrHoldLost when it is not live.
func (s *Service) Held(id string, life time.Duration) Hold {
	return Hold{ID: id, Life: life, service: s}
}
