"""Tables, trees and figures for people's terminals."""
