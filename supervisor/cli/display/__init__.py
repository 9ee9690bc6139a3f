"""Tables, trees and figures for terminals."""
