package fcm

// Warmed waits until the service has signed in and connected, or failed to.
func (s *Service) Warmed() { s.running.Wait() }

// SignOut forgets the access tokens, as their end would.
func (s *Service) SignOut() {
	for _, a := range s.access {
		a.mu.Lock()
		a.token = nil
		a.mu.Unlock()
	}
}
