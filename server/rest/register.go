package rest

import (
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"
)

// literalFirst registers routes that are written out before those that a parameter would also fit:
// the framework takes the first that matches, and the generated order is that of the alphabet.
type literalFirst struct {
	fiber.Router
	routes []pendingRoute
}

type pendingRoute struct {
	parameters int
	register   func()
}

func (l *literalFirst) later(path string, handlers []fiber.Handler, register func(string, ...fiber.Handler) fiber.Router) fiber.Router {
	l.routes = append(l.routes, pendingRoute{strings.Count(path, ":"), func() { register(path, handlers...) }})
	return l
}

func (l *literalFirst) Get(path string, handlers ...fiber.Handler) fiber.Router {
	return l.later(path, handlers, l.Router.Get)
}

func (l *literalFirst) Post(path string, handlers ...fiber.Handler) fiber.Router {
	return l.later(path, handlers, l.Router.Post)
}

func (l *literalFirst) Put(path string, handlers ...fiber.Handler) fiber.Router {
	return l.later(path, handlers, l.Router.Put)
}

func (l *literalFirst) Patch(path string, handlers ...fiber.Handler) fiber.Router {
	return l.later(path, handlers, l.Router.Patch)
}

func (l *literalFirst) Delete(path string, handlers ...fiber.Handler) fiber.Router {
	return l.later(path, handlers, l.Router.Delete)
}

func (l *literalFirst) flush() {
	slices.SortStableFunc(l.routes, func(a, b pendingRoute) int { return a.parameters - b.parameters })
	for _, r := range l.routes {
		r.register()
	}
}
