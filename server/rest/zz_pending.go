package rest

type pending struct{ StrictServerInterface }
