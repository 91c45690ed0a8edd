package api

// Patterns lists the routes that are served, as method and pattern.
func (s *Server) Patterns() [][2]string {
	var list [][2]string
	for _, r := range s.routes {
		if r.handle != nil {
			list = append(list, [2]string{r.method, r.pattern})
		}
	}
	return list
}
