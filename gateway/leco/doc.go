// Package leco is the door for LECO components and foreign LECO coordinators.
package leco
