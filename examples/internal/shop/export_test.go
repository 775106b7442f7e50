package shop

// Secret is that of the run: what control has, and no client.
func (s *Shop) Secret() string { return s.secret }

// Key is the key for tokens.
func (s *Shop) Key() []byte { return s.key }
